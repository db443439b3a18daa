"""deschedule(): what it cancels, and what it promises while jobs are running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from django_async import schedule
from django_async.api import deschedule, schedule_many
from django_async.errors import UnknownFunction
from django_async.models import Error, Group, Job
from suite import calls
from suite.jobs import fail, note, nothing
from suite.models import Note
from suite.testing import run_pass
from suite.together import (
    DEADLINE,
    before_first_write,
    beside,
    elsewhere,
    locked,
    wait_for_a_waiter,
)

one_writer = pytest.mark.skipif(connection.vendor != "sqlite", reason="has more than one writer")
row_locks = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
in_transactions = pytest.mark.django_db(transaction=True)

NOTHING = "suite.jobs.nothing"


def states() -> list[str]:
    """The states of all jobs, in the order of their ids."""
    return [job.state for job in Job.objects.order_by("pk")]


@pytest.fixture
def gate() -> Iterator[None]:
    """A closed gate, which is open again in the end whatever happens."""
    calls.close_gate()
    yield
    calls.gate.set()


@pytest.mark.django_db
def test_every_pending_match_is_cancelled_and_counted() -> None:
    group = Group.objects.create(reference="orders")
    schedule(nothing, ["a"])
    schedule(nothing, ["a"], priority=-7, queue="mail")
    schedule(nothing, ["a"], run_after=timedelta(days=1), meta={"asked by": "Zoë"})
    schedule(nothing, ["a"], group=group)
    assert deschedule(nothing, ["a"]) == 4
    assert states() == ["cancelled"] * 4
    assert deschedule(nothing, ["a"]) == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (nothing, [1, "b"], {"x": 1, "y": None}),
        (NOTHING, (1, "b"), {"y": None, "x": 1}),
    ],
)
def test_a_match_is_the_same_call_however_it_is_written(
    function: Any, args: Any, kwargs: dict[str, Any]
) -> None:
    schedule(nothing, [1, "b"], {"x": 1, "y": None})
    assert deschedule(function, args, kwargs) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        *({"args": args} for args in ([], [1, 2], ["1"], [1.0], [True], [[1]])),
        *({"args": [1], "kwargs": kwargs} for kwargs in ({"x": 1}, {"y": None})),
    ],
)
def test_another_call_is_no_match(arguments: dict[str, Any]) -> None:
    schedule(nothing, [1])
    assert deschedule(nothing, **arguments) == 0
    assert deschedule(note, [1]) == 0
    assert states() == ["due"]


@pytest.mark.django_db
def test_what_has_ended_stays_as_it_is(flush: Callable[..., Any]) -> None:
    schedule(nothing).execute()
    schedule(nothing)
    deschedule(nothing)
    Job.objects.filter(pk=schedule(nothing).pk).update(discarded="2020-01-01T00:00:00Z")
    before = list(Job.objects.order_by("pk").values())
    assert deschedule(nothing) == 0
    assert list(Job.objects.order_by("pk").values()) == before


@pytest.mark.django_db
def test_a_job_that_failed_and_waits_is_cancelled(flush: Callable[..., Any]) -> None:
    schedule(fail)
    flush(keep_going=True)
    assert states() == ["failed"]
    assert deschedule(fail) == 1
    assert states() == ["cancelled"]
    assert Error.objects.count() == 1


@pytest.mark.django_db
def test_a_cancelled_job_never_runs(flush: Callable[..., Any]) -> None:
    schedule(note, ["never"])
    deschedule(note, ["never"])
    assert flush().output.startswith("0 executed")
    assert not Note.objects.exists()


@pytest.mark.django_db
def test_thousands_are_cancelled_at_once() -> None:
    schedule_many({"function": nothing} for _ in range(2_345))
    assert deschedule(nothing) == 2_345
    assert not Job.objects.pending().exists()


@pytest.mark.django_db
def test_arguments_are_checked_as_schedule_checks_them() -> None:
    with pytest.raises(TypeError, match="args"):
        deschedule(nothing, "abc")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"kwargs\['a'\]"):
        deschedule(nothing, kwargs={"a": {1}})
    with pytest.raises(ValueError, match="lambda"):
        deschedule(calls.anonymous)
    with pytest.raises(UnknownFunction):
        deschedule("no path")


@in_transactions
def test_it_is_part_of_the_callers_transaction() -> None:
    schedule(nothing)
    with transaction.atomic():
        assert deschedule(nothing) == 1
        transaction.set_rollback(True)
    assert states() == ["due"]


@in_transactions
@row_locks
def test_a_running_job_is_left_alone_without_waiting() -> None:
    running, waiting = schedule(nothing), schedule(nothing)
    with locked(running):
        assert deschedule(nothing) == 1
    assert states() == ["due", "cancelled"]
    assert {running.pk, waiting.pk} == set(Job.objects.values_list("pk", flat=True))


@in_transactions
@row_locks
def test_a_job_that_runs_in_a_worker_is_left_alone(gate: None) -> None:
    job = schedule(calls.waits_at_gate)
    with beside(job.execute) as running:
        assert calls.arrived.wait(DEADLINE)
        assert deschedule(calls.waits_at_gate) == 0
        calls.gate.set()
        assert running.result(DEADLINE) == "through"
    assert states() == ["executed"]


@in_transactions
@one_writer
def test_on_sqlite_it_waits_for_the_one_writer() -> None:
    schedule(nothing)
    with before_first_write(lambda: elsewhere(note, "written in between")):
        assert deschedule(nothing) == 1
    assert states() == ["cancelled"]
    assert Note.objects.count() == 1


@pytest.mark.django_db
def test_a_job_that_cancels_its_own_call_is_executed() -> None:
    job, twin = schedule(calls.cancels_its_own_call), schedule(calls.cancels_its_own_call)
    assert job.execute() == 1
    twin.refresh_from_db()
    assert (job.state, twin.state) == ("executed", "cancelled")


@pytest.mark.django_db
def test_what_a_failing_job_cancelled_is_pending_again() -> None:
    schedule(nothing, [1])
    job = schedule(calls.cancels_and_fails, [NOTHING, 1])
    with pytest.raises(ValueError, match="but failed"):
        job.execute()
    assert states() == ["due", "failed"]


@in_transactions
@row_locks
@pytest.mark.parametrize(
    ("fails", "cancelled", "state"), [(False, 0, "executed"), (True, 1, "cancelled")]
)
def test_inside_a_job_it_waits_for_a_match_that_is_running(
    gate: None, fails: bool, cancelled: int, state: str
) -> None:
    kwargs = {"fails": True} if fails else {}
    match = schedule(calls.waits_at_gate, kwargs=kwargs)
    canceller = schedule(calls.cancels_gate, kwargs=kwargs)
    with beside(match.execute) as running:
        assert calls.arrived.wait(DEADLINE)
        with beside(canceller.execute) as cancelling:
            wait_for_a_waiter("%UPDATE")
            assert not cancelling.done()
            calls.gate.set()
            assert bool(running.exception(DEADLINE)) is fails
            assert cancelling.result(DEADLINE) == cancelled
    match.refresh_from_db()
    assert match.state == state
    assert match.errors.count() == fails
    assert Note.objects.count() == (not fails)


@in_transactions
@row_locks
def test_inside_a_job_it_waits_for_nobody_else() -> None:
    """However many matches there are: from 1,000 keys on MariaDB reads, and locks, all rows."""
    others = schedule_many({"function": nothing, "args": [n]} for n in range(30))
    matches = schedule_many({"function": nothing, "args": ["match"]} for _ in range(1_100))
    canceller = schedule(calls.cancels, [NOTHING, "match"])
    with locked(*others):
        assert elsewhere(canceller.execute) == len(matches)


@in_transactions
@pytest.mark.parametrize("workers", [1, 3])
def test_a_match_was_executed_before_or_never_runs(workers: int) -> None:
    matches = [schedule(note, ["match"], priority=5) for _ in range(8)]
    canceller = schedule(calls.cancels, ["suite.jobs.note", "match"], priority=5)
    matches += [schedule(note, ["match"], priority=5) for _ in range(24)]
    kept = run_pass(workers=workers)
    ends = [Job.objects.get(pk=job.pk).state for job in matches]
    canceller.refresh_from_db()
    story = f"{kept.summary}; handed out: {kept.ids}; {canceller.pk} cancels; {ends}"
    assert kept.summary.failed == 0, f"{story}; {list(Error.objects.values_list())}"
    assert set(ends) == {"executed", "cancelled"}, story
    assert ends.count("cancelled") == int(canceller.result), story
    assert ends.count("executed") == Note.objects.count(), story
    assert ends[:5] == ["executed"] * 5, story


@in_transactions
@row_locks
def test_a_deadlock_of_two_such_jobs_ends_one_which_the_other_has_cancelled() -> None:
    """Run again at once, it finds itself cancelled."""
    calls.meeting.reset()
    for number in range(2):
        schedule(calls.meets_and_cancels, [number])
    kept = run_pass(workers=2)
    assert (kept.summary.executed, kept.summary.failed) == (1, 0)
    assert sorted(states()) == ["cancelled", "executed"]
    assert not Error.objects.exists()
