"""What operators do to many jobs, and what they are told of those that were left alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from django_async import clock, many, schedule
from django_async.api import schedule_many
from django_async.groups import Group
from django_async.many import Tally
from django_async.models import Job
from django_async.noticeboard import noticeboard
from suite import calls
from suite.jobs import note, nothing
from suite.models import Note
from suite.spying import each_statement
from suite.together import locked

pytestmark = pytest.mark.django_db(transaction=True)

row_locks = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
HOUR = timedelta(hours=1)
ENDS = ("executed", "cancelled", "discarded")

VERBS: dict[str, Callable[[QuerySet[Job]], Tally]] = {
    "retry": many.retry,
    "reschedule": lambda jobs: many.reschedule(jobs, HOUR),
    "cancel": many.cancel,
    "discard": many.discard,
    "prioritise": lambda jobs: many.prioritise(jobs, 9),
    "move": lambda jobs: many.move(jobs, "other"),
}


def made(state: str) -> Job:
    """A job in this state."""
    job = schedule(note, [state], run_after=HOUR)
    now = clock.now("default")
    columns: dict[str, Any] = {}
    if state in ENDS:
        columns = {state: now, "started": now if state == "executed" else None}
    if state == "running":  # without a transaction
        columns = {"started": now, "attempts": 1}
    Job.objects.filter(pk=job.pk).update(**columns)
    return job


def fresh(job: Job) -> Job:
    job.refresh_from_db()
    return job


def test_jobs_are_tried_now_but_for_those_that_ran_or_run(flush: Callable[..., Any]) -> None:
    jobs = {state: made(state) for state in ("waiting", "running", *ENDS)}
    tally = many.retry(Job.objects.all())
    assert (tally.changed, tally.left_alone) == (3, {"executed": 1, "running": 1})
    Job.objects.filter(pk=jobs["running"].pk).delete()
    flush()
    assert sorted(Note.objects.values_list("text", flat=True)) == [
        "cancelled",
        "discarded",
        "waiting",
    ]


def test_jobs_get_another_time() -> None:
    job = made("discarded")
    assert many.reschedule(Job.objects.all(), 2 * HOUR).changed == 1
    assert fresh(job).state == "scheduled"
    scheduled = job.scheduled
    assert scheduled is not None
    assert scheduled > clock.now("default") + HOUR
    with pytest.raises(TypeError):
        many.reschedule(Job.objects.all(), "tomorrow")  # type: ignore[arg-type]


def test_jobs_are_cancelled_and_the_parents_of_those_that_run_are_asked() -> None:
    waiting, running, executed = made("waiting"), made("running"), made("executed")
    tally = many.cancel(Job.objects.all())
    assert (tally.changed, tally.asked, tally.left_alone) == (1, 1, {"executed": 1})
    assert fresh(waiting).state == "cancelled"
    assert fresh(executed).state == "executed"
    with closing(noticeboard("default")) as board:
        assert [one.job_id for one in board.requests()] == [running.pk]


def test_discarded_jobs_hold_up_their_final_job_no_more(flush: Callable[..., Any]) -> None:
    group = Group.objects.create(reference="report")
    member = schedule(nothing)
    Job.objects.filter(pk=member.pk).update(group=group)
    tally = many.discard(Job.objects.filter(pk=member.pk))
    assert tally.changed == 1
    assert fresh(member).state == "discarded"
    flush()
    assert fresh(member).state == "discarded"


def test_pending_jobs_get_another_priority_and_another_queue() -> None:
    waiting, executed = made("waiting"), made("executed")
    assert str(many.prioritise(Job.objects.all(), -7)) == "1 changed, 1 left alone: executed"
    assert many.move(Job.objects.all(), "slow").changed == 1
    assert (fresh(waiting).priority, waiting.queue) == (-7, "slow")
    assert (fresh(executed).priority, executed.queue) == (5, "default")


@pytest.mark.parametrize("value", ["", "x" * 101, "nul\0", 7])
def test_what_is_no_queue_is_refused_before_anything_is_done(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        many.move(Job.objects.all(), value)


@pytest.mark.parametrize("value", [1 << 31, "9", None, True])
def test_what_is_no_priority_is_refused_before_anything_is_done(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        many.prioritise(Job.objects.all(), value)


@row_locks
@pytest.mark.parametrize("verb", VERBS)
def test_nobody_waits_for_a_running_job(verb: str) -> None:
    running, waiting = made("waiting"), made("waiting")
    with locked(running):
        tally = VERBS[verb](Job.objects.all())
    if verb == "cancel":
        assert (tally.changed, tally.asked) == (1, 1)
    else:
        assert (tally.changed, tally.left_alone) == (1, {"running": 1})
    assert fresh(waiting).state == {"cancel": "cancelled", "discard": "discarded"}.get(
        verb, "scheduled" if verb != "retry" else "due"
    )


@pytest.mark.parametrize("verb", VERBS)
def test_each_of_very_many_is_met_once_in_portions(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "PORTION", 40)
    monkeypatch.setattr(many, "READ", 60)
    schedule_many({"function": nothing, "run_after": 2 * HOUR} for _ in range(130))
    assert VERBS[verb](Job.objects.pending()).changed == 130
    assert VERBS[verb](Job.objects.none()).changed == 0


@pytest.mark.parametrize("verb", VERBS)
def test_a_portion_costs_a_few_statements_and_what_chooses_the_jobs_is_asked_once(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For it may look at every row; and no statement has more values than SQLite takes."""
    monkeypatch.setattr(many, "PORTION", 300)
    schedule_many({"function": nothing, "queue": "wait"} for _ in range(1200))
    schedule(nothing)
    seen: list[Any] = []
    with each_statement(lambda sql, params: seen.append(params or ())):
        assert VERBS[verb](Job.objects.filter(queue="wait")).changed == 1200
    assert sum("wait" in params for params in seen) == 1
    assert len(seen) < 10 * 4
    assert max(map(len, seen)) < 999


@pytest.mark.parametrize("meta", [{}, {"atomic": False}], ids=["atomic", "detached"])
@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("retry", "1 changed, 1 left alone: running"),
        ("cancel", "1 changed, 1 running and asked for"),
        ("discard", "1 changed, 1 left alone: running"),
        ("prioritise", "1 changed, 1 left alone: running"),
    ],
)
def test_a_job_that_does_it_to_all_is_running(verb: str, said: str, meta: dict[str, Any]) -> None:
    schedule(nothing)
    job = schedule(calls.changes_all, [verb], meta=meta)
    assert job.execute() == said
    assert fresh(job).state == "executed"
