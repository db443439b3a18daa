"""The queue as a state machine: whatever people and accidents do to it, compared with a model.

After each step every row is what the model says: its state, attempts, deaths, priority, time and
errors; and so are the effects, each exactly once.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_async import clock
from django_async.api import deschedule, schedule, schedule_many
from django_async.errors import ConnectionClosed, JobEnded, JobNotRunnable, MarkedForRollback
from django_async.models import Error, Group, Job, Parent
from suite.models import Note
from suite.oracle import DEATHS, FAILURES, Oracle, Row
from suite.processes import manage
from suite.programs import Planned, act
from suite.testing import examples
from suite.together import DEADLINE

KEYS = st.sampled_from("ab")
SCRIPTS = st.sampled_from(
    [
        [],
        [],
        [],
        ["child"],
        ["raise"],
        ["raise", "raise", "child"],
        ["mark", "leave"],
        ["close"],
        ["die"],
        ["die", "die"],
        ["die", "die", "die"],
        ["raise", "die", "raise"],
        ["kill all"],
        ["kill all", "kill all", "die"],
    ]
)
TIMES = st.none() | st.sampled_from([timedelta(hours=-1), timedelta(hours=-1), timedelta(days=2)])
REFERENCES = st.sampled_from(["red", "blue"])
CALLS = st.fixed_dictionaries(
    {
        "key": KEYS,
        "script": SCRIPTS,
        "run_after": TIMES,
        "priority": st.integers(3, 7),
        "max_attempts": st.sampled_from([None, None, 1, 2]),
        "group": st.none() | st.none() | REFERENCES,
    }
)
RAISED = {
    "raise": Planned,
    "leave": SystemExit,
    "mark": MarkedForRollback,
    "close": ConnectionClosed,
}
Call = dict[str, Any]
Flush = Callable[..., Any]


@pytest.mark.django_db(transaction=True)
def test_whatever_happens_every_job_ends_as_promised_and_once(flush: Flush) -> None:
    def machine() -> Queue:
        return Queue(flush)

    run_state_machine_as_test(machine, settings=examples(15, steps=15))  # type: ignore[arg-type]


class Queue(RuleBasedStateMachine):
    """Does things to the queue, and to the model of it."""

    def __init__(self, flush: Flush) -> None:
        super().__init__()
        self.flush_queue = flush
        self.oracle = Oracle()
        self.groups: dict[str, int] = {}
        """The newest group of each reference."""
        empty_tables()

    @rule(call=CALLS)
    def schedule(self, call: Call) -> None:
        if self.is_closed(call["group"]):
            with pytest.raises(ValidationError):
                schedule(**keywords(call))
        else:
            self.learn(schedule(**keywords(call)), call)
        self.check()

    @initialize(calls=st.lists(CALLS, min_size=3, max_size=8))
    def begin_with_some(self, calls: list[Call]) -> None:
        self.schedule_many([{**call, "group": None} for call in calls])

    @rule(calls=st.lists(CALLS, max_size=6))
    def schedule_many(self, calls: list[Call]) -> None:
        if any(self.is_closed(call["group"]) for call in calls):
            with pytest.raises(ValidationError):
                schedule_many(map(keywords, calls))
        else:
            for job, call in zip(schedule_many(map(keywords, calls)), calls, strict=True):
                self.learn(job, call)
        self.check()

    @rule(call=CALLS.filter(lambda call: call["group"] is None), many=st.booleans())
    def schedule_in_a_transaction_that_rolls_back(self, call: Call, many: bool) -> None:
        with transaction.atomic():
            schedule_many([keywords(call)] * 3) if many else schedule(**keywords(call))
            transaction.set_rollback(True)
        self.check()

    @rule(call=CALLS, reference=REFERENCES)
    def schedule_a_final_job(self, call: Call, reference: str) -> None:
        call = {**call, "group": reference}
        if self.is_closed(reference):
            return
        with transaction.atomic():
            job = schedule(**keywords(call))
            assert job.group is not None
            job.group.on_completion(job)
        self.learn(job, call)
        self.oracle.finals[self.groups[reference]] = job.pk
        self.check()

    @rule(key=KEYS, script=SCRIPTS)
    def deschedule(self, key: str, script: list[str]) -> None:
        assert deschedule(act, [key, script]) == self.oracle.cancel(key, script)
        self.check()

    @rule(key=KEYS)
    def deschedule_children(self, key: str) -> None:
        self.deschedule(f"child of {key}", [])

    @rule(number=st.integers(0, 99))
    def cancel(self, number: int) -> None:
        if (found := self.any_of(self.oracle.rows.values(), number)) is None:
            return
        job = Job.objects.get(pk=found.id)
        if found.is_pending:
            assert job.cancel()
            found.state = "cancelled"
        else:
            with pytest.raises(JobEnded):
                job.cancel()
        self.check()

    @rule(number=st.integers(0, 99), by=st.none() | st.sampled_from([timedelta(days=1)]))
    def give_another_time(self, number: int, by: timedelta | None) -> None:
        """To what waits, was cancelled or was given up; now, or later."""
        rows = [row for row in self.oracle.rows.values() if row.is_pending or row.group is None]
        if (found := self.any_of(rows, number)) is None:
            return
        began, job = clock.now("default"), Job.objects.get(pk=found.id)
        act_on = job.retry if by is None else partial(job.reschedule, by)
        if found.state == "executed":
            with pytest.raises(JobEnded):
                act_on()
        else:
            act_on()
            found.take_up_again(began + (by or timedelta()))
        self.check(began)

    @rule()
    def retry_what_has_failed(self) -> None:
        """Jobs in groups apart, which may be closed."""
        began = clock.now("default")
        failed = [
            row
            for row in self.oracle.rows.values()
            if row.group is None
            and (row.state == "discarded" or (row.is_pending and row.attempts > 0))
        ]
        assert Job.objects.filter(group=None).retry_failed() == len(failed)
        for row in failed:
            row.take_up_again(began)
        self.check(began)

    @precondition(lambda self: self.is_due())
    @rule(keep_going=st.booleans(), limit=st.none() | st.none() | st.integers(1, 4))
    def flush_in_this_process(self, keep_going: bool, limit: int | None) -> None:
        """Without the jobs that would end this process."""
        self.flush(keep_going=keep_going, limit=limit, queues=["default"])

    @precondition(lambda self: self.is_due())
    @rule(workers=st.integers(1, 2))
    def flush_with_workers(self, workers: int) -> None:
        """Which jobs still run when one fails depends on the workers' speed: so all go on."""
        self.flush(workers=workers, queues=["default", "deadly"])

    @precondition(lambda self: any(row.queue == "doomed" for row in self.due()))
    @rule()
    def flush_until_everybody_dies(self) -> None:
        """A pass of its own parent, which a job may take with it."""
        began, before = clock.now("default"), self.totals()
        with manage("flush_queue", "--workers=1", "--keep-going", "--queue=doomed") as process:
            out, _ = process.communicate(timeout=DEADLINE)
        order = list(self.oracle.run_pass(began, chosen=lambda row: row.queue == "doomed"))
        executed, failed = self.ended_since(before)
        note(f"handed out: {order}; said: {out}")
        if self.oracle.everybody_died:
            assert process.returncode == -signal.SIGKILL
        else:
            assert f"{executed} executed, {failed} failed, 0 skipped" in out
            assert process.returncode == (1 if failed else 0)
        self.check(began)

    def flush(
        self,
        *,
        workers: int = 0,
        keep_going: bool = True,
        limit: int | None = None,
        queues: list[str],
    ) -> None:
        began, before = clock.now("default"), self.totals()

        done = self.flush_queue(workers=workers, keep_going=keep_going, jobs=limit, queue=queues)

        order = list(
            self.oracle.run_pass(
                began,
                keep_going=keep_going,
                limit=limit,
                chosen=lambda row: row.queue in queues,
            )
        )
        executed, failed = self.ended_since(before)
        note(f"handed out: {order}; said: {done.output}{done.error}")
        assert f"{executed} executed, {failed} failed, 0 skipped" in done.output
        assert done.status == (1 if failed else 0)
        self.check(began)

    def ended_since(self, before: tuple[int, int]) -> tuple[int, int]:
        """How many jobs were executed, and how many attempts failed, since then."""
        executed, failed = self.totals()
        return executed - before[0], failed - before[1]

    def due(self) -> list[Row]:
        return self.oracle.due(clock.now("default"))

    def any_of(self, rows: Iterable[Row], number: int) -> Row | None:
        """One of the rows, if there are any."""
        found = list(rows)
        return found[number % len(found)] if found else None

    def is_due(self) -> bool:
        return any(row.queue != "doomed" for row in self.due())

    @rule(number=st.integers(0, 99))
    def execute_by_hand(self, number: int) -> None:
        rows = filter(self.may_be_executed, self.oracle.rows.values())
        if (row := self.any_of(rows, number)) is None:
            return
        began = clock.now("default")
        job = Job.objects.get(pk=row.id)
        if not row.is_pending:
            with pytest.raises(JobNotRunnable):
                job.execute()
        elif row.step in FAILURES:
            with pytest.raises(RAISED[row.step]):
                job.execute()
            self.oracle.attempt(row, began)
        else:
            assert job.execute() == row.key
            self.oracle.attempt(row, began)
        self.check(began)

    @precondition(lambda self: bool(self.oracle.scheduled()))
    @rule(by=st.sampled_from([timedelta(minutes=2), timedelta(days=3)]))
    def time_passes(self, by: timedelta) -> None:
        for row in self.oracle.scheduled():
            assert row.scheduled
            row.scheduled -= by
            Job.objects.filter(pk=row.id).update(scheduled=row.scheduled)
        self.check()

    def may_be_executed(self, row: Row) -> bool:
        """Not what would end this process, or run before those that it waits for."""
        return not row.is_pending or (row.step not in DEATHS and not self.oracle.waits(row))

    def is_closed(self, reference: str | None) -> bool:
        """Whether the reference means a group that is at work, which takes no more jobs."""
        members = self.oracle.members(self.groups.get(reference or "", 0))
        open_ends = sum(row.is_pending for row in members)
        return 0 < open_ends < len(members)

    def learn(self, job: Job, call: Call) -> None:
        """Tell the model of a job that was scheduled."""
        self.check_group(job, call["group"])
        self.oracle.add(
            Row(
                id=job.pk,
                key=call["key"],
                script=call["script"],
                priority=call["priority"],
                scheduled=job.scheduled,
                max_attempts=call["max_attempts"],
                group=job.group_id,
                queue=job.queue,
            )
        )

    def check_group(self, job: Job, reference: str | None) -> None:
        """A reference means its newest group, until all jobs of that one have ended."""
        assert (job.group and job.group.reference) == reference
        if reference is None or job.group_id is None:
            return
        newest = self.groups.get(reference, 0)
        members = self.oracle.members(newest)
        if any(row.is_pending for row in members):
            assert job.group_id == newest
        else:
            assert job.group_id not in self.groups.values()
            self.groups[reference] = job.group_id

    def totals(self) -> tuple[int, int]:
        """How many jobs were executed, and how many attempts failed, as the model has it."""
        rows = self.oracle.rows.values()
        return sum(row.state == "executed" for row in rows), sum(row.errors for row in rows)

    def check(self, began: datetime | None = None) -> None:
        """Compare the database with the model."""
        jobs = {job.pk: job for job in Job.objects.all()}
        self.meet_children(jobs)
        assert jobs.keys() == self.oracle.rows.keys()
        errors = Counter(Error.objects.values_list("job_id", flat=True))
        for row in self.oracle.rows.values():
            check_row(jobs[row.id], row, began)
            assert errors[row.id] == row.errors
        assert Counter(Note.objects.values_list("text", flat=True)) == self.oracle.notes
        finals = dict(Group.objects.exclude(final=None).values_list("id", "final_id"))
        assert finals == self.oracle.finals

    def meet_children(self, jobs: dict[int, Job]) -> None:
        """Take the jobs that jobs have scheduled into the model."""
        unknown = [job for pk, job in jobs.items() if pk not in self.oracle.rows]
        keys = [json.loads(job.args)[0] for job in unknown]
        assert sorted(keys) == sorted(self.oracle.children)
        self.oracle.children.clear()
        for job, key in zip(unknown, keys, strict=True):
            self.oracle.add(Row(job.pk, key))


def check_row(job: Job, row: Row, began: datetime | None) -> None:
    """The job is what the model says."""
    assert (job.attempts, job.crashes, job.priority) == (row.attempts, row.crashes, row.priority)
    ends = {"executed": job.executed, "cancelled": job.cancelled, "discarded": job.discarded}
    assert [word for word, moment in ends.items() if moment] == [row.state] * (not row.is_pending)
    assert job.result == (json.dumps(row.key) if row.state == "executed" else "")
    assert (job.started is not None) == (row.state == "executed")
    check_time(job, row, began)


def check_time(job: Job, row: Row, began: datetime | None) -> None:
    """A failure's new time is the back-off away from a moment within the step."""
    if row.moved and began and job.scheduled and row.scheduled:
        assert timedelta() <= job.scheduled - row.scheduled <= clock.now("default") - began
        row.scheduled, row.moved = job.scheduled, False
    assert job.scheduled == row.scheduled


def keywords(call: Call) -> Call:
    """``schedule()``'s keywords for the call."""
    return {
        "function": act,
        "args": [call["key"], call["script"]],
        "run_after": call["run_after"],
        "priority": call["priority"],
        "meta": {"max_attempts": call["max_attempts"]},
        "group": call["group"],
        "queue": queue_of(call["script"]),
    }


def queue_of(script: list[str]) -> str:
    """Jobs are kept apart by whom they take with them."""
    if "kill all" in script:
        return "doomed"
    return "deadly" if "die" in script else "default"


def empty_tables() -> None:
    """What the last machine left would confuse this one."""
    Group.objects.update(final=None)
    for model in (Error, Job, Group, Note, Parent):
        model.objects.all().delete()
