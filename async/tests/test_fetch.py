"""Which jobs a pass finds, in which order, and what that costs the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from django_async import clock, fetch, schedule
from django_async.api import pause_queue, resume_queue, schedule_many
from django_async.models import Group, Job
from suite import abuse, jobs
from suite.models import Note
from suite.spying import before_statement, writing, writing_between
from suite.testing import run_pass
from suite.together import elsewhere, locked

ON_SQLITE = connection.vendor == "sqlite"

row_locks = pytest.mark.skipif(ON_SQLITE, reason="SQLite locks no rows")
workers_too = pytest.mark.parametrize("workers", [0, 3])
on_commits = pytest.mark.django_db(transaction=True)

PAGE = 64
LOCKED = 200
"""More rows than a page has."""


def notes() -> list[str]:
    return list(Note.objects.order_by("id").values_list("text", flat=True))


@on_commits
@workers_too
def test_jobs_are_handed_out_by_priority_then_time_then_age(workers: int) -> None:
    now = clock.now("default")
    plan = [
        (5, None),
        (9, None),
        (5, now - timedelta(hours=1)),
        (5, now - timedelta(hours=2)),
        (-3, now - timedelta(days=9)),
        (9, now - timedelta(seconds=1)),
        (5, None),
        (5, now - timedelta(hours=2)),
    ]
    planned = [schedule(jobs.nothing, run_after=run_after, priority=p) for p, run_after in plan]
    done = run_pass(workers=workers)
    assert done.ids == [planned[place].id for place in (5, 1, 3, 7, 2, 0, 6, 4)]


@on_commits
@workers_too
def test_the_order_goes_across_batches(workers: int, settings: Any) -> None:
    settings.ASYNC = {"BATCH_SIZE": 3}
    moment = clock.now("default") - timedelta(hours=1)
    planned = [
        schedule(jobs.nothing, priority=priority, run_after=run_after)
        for priority in (1, 2)
        for run_after in (None, moment)
        for _ in range(5)
    ]
    expected = planned[15:] + planned[10:15] + planned[5:10] + planned[:5]
    assert run_pass(workers=workers).ids == [job.id for job in expected]


@on_commits
@row_locks
@workers_too
def test_rows_that_others_hold_never_stall_the_rest(workers: int) -> None:
    held = schedule_many([{"function": jobs.note, "args": ["held"], "priority": 9}] * LOCKED)
    schedule(jobs.note, ["free"])
    with locked(*held):
        done = run_pass(workers=workers)
    assert notes() == ["free"]
    assert (done.summary.executed, done.summary.failed) == (1, 0)
    assert Job.objects.due().count() == LOCKED


@on_commits
@row_locks
def test_a_row_that_is_set_free_soon_is_run_in_the_same_pass() -> None:
    held = schedule(jobs.note, ["held"], priority=9)
    other = schedule(jobs.note, ["other"])
    with ExitStack() as holding:
        holding.enter_context(locked(held))
        with before_statement("SELECT name, args", 3, holding.close):
            done = run_pass()
    assert done.ids == [held.id, other.id, held.id]
    assert notes() == ["other", "held"]
    assert done.summary.skipped == 0


@on_commits
@pytest.mark.skipif(not ON_SQLITE, reason="elsewhere no writer blocks all others")
def test_a_claim_that_meets_sqlites_one_writer_is_tried_again() -> None:
    job = schedule(jobs.note)
    with writing_between("UPDATE async_job SET started", 1, 3):
        done = run_pass()
    assert set(done.ids) == {job.id}
    assert (done.summary.executed, done.summary.failed, done.summary.skipped) == (1, 0, 0)
    assert not job.errors.exists()


@on_commits
@pytest.mark.skipif(not ON_SQLITE, reason="elsewhere no writer blocks all others")
def test_a_parent_that_meets_sqlites_one_writer_tries_again() -> None:
    job = schedule(jobs.note)
    with writing() as stop_writing, before_statement('UPDATE "async_parent"', 3, stop_writing):
        done = run_pass()
    assert (done.ids, done.summary.executed) == ([job.id], 1)


TOMORROW = timedelta(days=1)


@contextmanager
def between_hint_and_claim(act: Callable[[], object]) -> Iterator[None]:
    """Somebody else acts when the job was found, and before it is claimed."""
    claim = "UPDATE async_job" if ON_SQLITE else "SELECT name, args"
    with before_statement(claim, 1, lambda: elsewhere(act)):
        yield


@on_commits
@pytest.mark.parametrize("change", ["executed", "cancelled", "discarded", "scheduled"])
def test_a_job_that_is_not_due_any_more_is_not_claimed(change: str) -> None:
    job = schedule(jobs.note)
    moment = timezone.now() + (TOMORROW if change == "scheduled" else timedelta())
    changed = Job.objects.filter(pk=job.pk)
    with between_hint_and_claim(lambda: changed.update(**{"started": moment, change: moment})):
        done = run_pass()
    assert not notes()
    assert (done.summary.executed, done.summary.failed) == (0, 0)


@on_commits
def test_a_job_that_somebody_else_attempted_is_looked_at_again() -> None:
    job = schedule(jobs.note)
    attempted = Job.objects.filter(pk=job.pk)
    with between_hint_and_claim(lambda: attempted.update(attempts=1, priority=4)):
        done = run_pass()
    assert [(hint.attempts, hint.priority) for hint in done.handed_out] == [(0, 5), (1, 4)]
    assert notes() == ["noted"]


@on_commits
def test_a_final_job_is_not_claimed_when_somebody_joined_its_group() -> None:
    group = Group.objects.create(reference="g")
    group.on_completion(schedule(jobs.note, ["final"]))
    with between_hint_and_claim(lambda: schedule(jobs.note, ["member"], group=group)):
        run_pass()
    assert not notes()
    run_pass()
    assert notes() == ["member", "final"]


@on_commits
@workers_too
def test_final_jobs_that_wait_never_stall_the_rest(workers: int) -> None:
    with transaction.atomic():
        for number in range(LOCKED):
            group = Group.objects.create(reference=f"group {number}")
            group.on_completion(schedule(jobs.note, ["final"], priority=9))
            schedule(jobs.note, ["member"], group=group, run_after=TOMORROW)
        schedule(jobs.note, ["free"])
    done = run_pass(workers=workers)
    assert notes() == ["free"]
    assert len(done.ids) == 1


@on_commits
@workers_too
@pytest.mark.parametrize("priority", [1, 5, 9])
def test_a_final_job_runs_once_in_the_same_pass_after_the_last_member(
    workers: int, priority: int
) -> None:
    group = Group.objects.create(reference="g")
    group.on_completion(schedule(jobs.note, ["final"], priority=priority))
    for _ in range(10):
        schedule(jobs.note, ["member"], group=group)
    done = run_pass(workers=workers)
    assert notes() == ["member"] * 10 + ["final"]
    assert done.summary.skipped == 0


@on_commits
@row_locks
def test_two_workers_that_finish_the_last_two_at_once_release_the_final_job_once(
    tmp_path: Any,
) -> None:
    group = Group.objects.create(reference="g")
    group.on_completion(schedule(jobs.note, ["final"]))
    for _ in range(2):
        schedule(abuse.meet, [str(tmp_path), 2], group=group)
    done = run_pass(workers=2)
    assert notes() == ["final"]
    assert done.summary.executed == 3


@on_commits
@workers_too
def test_a_final_job_waits_for_a_member_that_failed(workers: int) -> None:
    group = Group.objects.create(reference="g")
    group.on_completion(schedule(jobs.note, ["final"]))
    schedule(jobs.fail, group=group)
    run_pass(workers=workers)
    assert notes() == []
    Job.objects.filter(name="suite.jobs.fail").update(scheduled=None, meta='{"max_attempts": 1}')
    run_pass(workers=workers)
    assert notes() == ["final"]


@pytest.mark.django_db
@pytest.mark.parametrize("ends", ["cancelled", "discarded"])
def test_a_final_job_does_not_wait_for_a_member_that_was_given_up(ends: str) -> None:
    group = Group.objects.create(reference="g")
    group.on_completion(schedule(jobs.note, ["final"]))
    member = schedule(jobs.note, ["member"], group=group)
    Job.objects.filter(pk=member.pk).update(**{ends: timezone.now()})
    run_pass()
    assert notes() == ["final"]


@on_commits
@workers_too
def test_a_pass_covers_the_jobs_that_were_due_when_it_began(workers: int) -> None:
    schedule(jobs.parent, [2])
    soon = schedule(jobs.note, ["future"], run_after=timedelta(hours=1))

    def meanwhile() -> None:
        schedule(jobs.note, ["late"], priority=9)
        Job.objects.filter(pk=soon.pk).update(scheduled=clock.now("default"))

    run_pass(workers=workers, before=meanwhile)
    assert notes() == ["parent"]
    run_pass(workers=workers)
    assert sorted(notes()) == ["child 0", "child 1", "future", "late", "parent"]


@pytest.mark.django_db
def test_a_job_that_failed_waits_for_another_pass_even_without_back_off() -> None:
    schedule(jobs.fail, meta={"backoff": 0})
    assert len(run_pass().ids) == 1
    assert len(run_pass().ids) == 1


@pytest.mark.django_db
def test_only_due_jobs_are_found() -> None:
    now = timezone.now()
    due = schedule(jobs.note)
    schedule(jobs.note, run_after=timedelta(minutes=1))
    for end in ("executed", "cancelled", "discarded"):
        Job.objects.filter(pk=schedule(jobs.note).pk).update(**{"started": now, end: now})
    assert run_pass().ids == [due.id]


@pytest.mark.django_db
def test_a_job_is_due_to_the_microsecond() -> None:
    due = schedule(jobs.note, run_after=timedelta())
    reads = fetch.Fetch("default", fetch.bounds("default"), fetch.Selection())
    assert [hint.id for hint in reads.page(None, 9)] == [due.id]


@on_commits
@workers_too
def test_paused_queues_are_left_out(workers: int) -> None:
    """To MariaDB and MySQL the two names would be the same."""
    mail = schedule(jobs.note, queue="mail", priority=9)
    others = [schedule(jobs.note, queue=name) for name in ("default", "Mail", "máil")]
    pause_queue("mail")
    assert run_pass(workers=workers).ids == [job.pk for job in others]
    resume_queue("mail")
    assert run_pass(workers=workers).ids == [mail.pk]


@on_commits
def test_a_pause_of_every_queue_leaves_nothing() -> None:
    with transaction.atomic():
        group = Group.objects.create(reference="paused")
        member = schedule(jobs.note, group=group)
        group.on_completion(schedule(jobs.note))
    member.execute()
    waiting = schedule(jobs.note, queue="mail")

    def found(paused: set[str]) -> list[int]:
        selection = fetch.Selection(queues=("mail", "default"), paused=frozenset(paused))
        reads = fetch.Fetch("default", fetch.bounds("default"), selection)
        hints = [reads.page(None, PAGE), reads.again([waiting.pk]), reads.finals([group.pk])]
        return [*map(len, hints), reads.count(PAGE)]

    assert found(set()) == [2, 1, 1, 2]
    assert found({"", "mail"}) == [0, 0, 0, 0]
