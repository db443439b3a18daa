"""Signals: where in a job's course each is sent, and that no receiver can harm a job."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.dispatch import Signal

from django_async import current, schedule, signals
from django_async.models import Job
from suite import abuse, interrupted, jobs
from suite.attempts import WAYS, assert_one_failure, attempt, notes
from suite.models import Entry, Note
from suite.spying import each_statement
from suite.together import DEADLINE

pytestmark = pytest.mark.django_db(transaction=True)

Run = Callable[[Job], Job]
ENDS = ("job_executed", "job_failed", "job_discarded", "job_cancelled")


DETACHED = {"atomic": False}

both_kinds = pytest.mark.parametrize("meta", [None, DETACHED], ids=["atomic", "detached"])


@pytest.fixture(params=WAYS)
def run(request: pytest.FixtureRequest, flush: Callable[..., Any]) -> Run:
    """Attempt the job once, and return it as it is then."""
    return partial(attempt, way=request.param, flush=flush)


@contextmanager
def received(*names: str, by: Callable[..., object]) -> Iterator[None]:
    """Within the block, the function receives these signals; workers inherit that."""
    with ExitStack() as stack:
        for name in names:
            signal: Signal = getattr(signals, name)
            signal.connect(by)
            stack.callback(signal.disconnect, by)
        yield


def name_of(signal: Signal) -> str:
    return next(name for name in signals.__all__ if getattr(signals, name) is signal)


def note_it(signal: Signal, **_: Any) -> None:
    """A receiver that leaves a row, wherever it runs."""
    Note.objects.create(text=name_of(signal))


def test_job_started_comes_in_the_jobs_transaction_before_its_function(run: Run) -> None:
    def receive(job_id: int, **_: Any) -> None:
        job = current.current_job()
        Note.objects.create(text=f"{job and job.id == job_id} {connection.in_atomic_block}")

    with received("job_started", by=receive):
        run(schedule(jobs.note))
        assert notes() == ["True True", "noted"]


def test_what_a_receiver_of_job_started_writes_goes_with_the_jobs_effects(run: Run) -> None:
    with received("job_started", by=note_it):
        assert_one_failure(run(schedule(jobs.fail)))
    assert notes() == []


def test_what_a_receiver_writes_before_a_job_without_a_transaction_stays(run: Run) -> None:
    def receive(**_: Any) -> None:
        Note.objects.create(text=f"job_started {connection.in_atomic_block}")

    with received("job_started", by=receive):
        run(schedule(jobs.fail, ["of its own"], meta=DETACHED))
    assert notes() == ["job_started True", "of its own"]


@both_kinds
def test_job_executed_comes_after_the_commit_and_its_hooks(
    run: Run, meta: dict[str, Any] | None
) -> None:
    def receive(job_id: int, **_: Any) -> None:
        state = Job.objects.get(pk=job_id).state
        Note.objects.create(text=f"{state} {connection.in_atomic_block}")

    with received(*ENDS, by=receive):
        run(schedule(abuse.hook, ["hook"], meta=meta))
    assert notes()[-1] == "executed False"
    assert len(notes()) > 1


@both_kinds
def test_job_failed_comes_after_the_failure_is_committed(
    run: Run, meta: dict[str, Any] | None
) -> None:
    def receive(signal: Signal, job_id: int, exception: str, **_: Any) -> None:
        job = Job.objects.get(pk=job_id)
        text = f"{name_of(signal)} {job.state} {job.errors.get().exception == exception}"
        Note.objects.create(text=f"{text} {connection.in_atomic_block}")

    with received(*ENDS, by=receive):
        run(schedule(jobs.fail, meta=meta))
        assert notes()[-1] == "job_failed failed True False"
        run(schedule(jobs.fail, meta={"max_attempts": 1, **(meta or {})}))
        assert notes()[-1] == "job_discarded discarded True False"


@both_kinds
def test_job_cancelled_comes_after_the_end_of_a_job_that_was_cancelled_while_it_ran(
    run: Run, meta: dict[str, Any] | None
) -> None:
    def receive(signal: Signal, job_id: int, **_: Any) -> None:
        state = Job.objects.get(pk=job_id).state
        Note.objects.create(text=f"{name_of(signal)} {state} {connection.in_atomic_block}")

    with received(*ENDS, by=receive):
        run(schedule(interrupted.interrupt, meta=meta))
    assert notes()[-1] == "job_cancelled cancelled False"


def test_an_interruption_within_a_receiver_is_the_jobs(run: Run) -> None:
    def receive(**_: Any) -> None:
        interrupted.interrupt()

    with received("job_started", by=receive):
        assert run(schedule(jobs.note)).state == "cancelled"
    assert notes() == []


def test_job_executed_is_not_sent_for_a_job_whose_commit_failed(run: Run) -> None:
    with received(*ENDS, by=note_it):
        assert_one_failure(run(schedule(abuse.break_foreign_key)), "IntegrityError")
    assert notes() == ["job_failed"]
    assert not Entry.objects.exists()


@both_kinds
@pytest.mark.parametrize("most", [None, 1])
def test_the_end_of_a_job_whose_worker_died_is_told_by_the_parent(
    flush: Callable[..., Any], most: int | None, meta: dict[str, Any] | None
) -> None:
    told: list[tuple[Any, ...]] = []

    def receive(signal: Signal, job_id: int, name: str, queue: str, **more: Any) -> None:
        told.append((name_of(signal), job_id, name, queue, more["attempt"], more["wait_seconds"]))
        assert "WorkerDied" in more["exception"]
        assert more["run_seconds"] > 0

    limit = {"max_attempts": most} if most else {}
    job = schedule(jobs.die, queue="deadly", meta={**limit, **(meta or {})})
    with received(*ENDS, by=receive):
        flush(workers=1, jobs=1)
    signal = "job_discarded" if most else "job_failed"
    assert told == [(signal, job.id, "suite.jobs.die", "deadly", 1, None)]


def test_receivers_get_what_there_is_to_know_of_the_job(flush: Callable[..., Any]) -> None:
    got: dict[str, Any] = {}

    def receive(signal: Signal, **more: Any) -> None:
        got[name_of(signal)] = more

    job = schedule(jobs.note, queue="urgent")
    with received(*ENDS, "job_started", by=receive):
        flush()
    known = {
        "sender": Job,
        "using": "default",
        "job_id": job.id,
        "name": "suite.jobs.note",
        "queue": "urgent",
        "attempt": 1,
    }
    assert set(got) == {"job_started", "job_executed"}
    for name, more in got.items():
        assert 0 <= more.pop("wait_seconds") < 60
        assert (more.pop("run_seconds") > 0) if name == "job_executed" else True
        assert more == known


def break_transaction(**_: Any) -> None:
    """As a receiver would that swallows nothing, and leaves PostgreSQL's transaction aborted."""
    Note.objects.create(text="by the receiver")
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column FROM async_job")


def swallow_error(**_: Any) -> None:
    """The same without a word."""
    try:
        break_transaction()
    except Exception:
        pass


def do_nothing(**_: Any) -> None:
    """A receiver of good manners."""


def raise_value_error(**_: Any) -> None:
    raise ValueError("the receiver's own")


def leave(**_: Any) -> None:
    raise SystemExit(4)


class Unnamed:
    """A receiver without a ``__qualname__``, by which Django would call it in its log."""

    def __call__(self, **_: Any) -> None:
        raise ValueError("the receiver's own")


@pytest.mark.parametrize(
    "receiver",
    [raise_value_error, break_transaction, swallow_error, leave, Unnamed()],
    ids=["raises", "breaks", "swallows", "exits", "unnamed"],
)
@both_kinds
def test_a_receiver_that_raises_harms_no_job(
    flush: Callable[..., Any], receiver: Callable[..., None], meta: dict[str, Any] | None
) -> None:
    run = partial(attempt, way="worker", flush=flush)
    with received("job_started", *ENDS, by=receiver):
        assert run(schedule(jobs.note, meta=meta)).state == "executed"
        assert "noted" in notes()
        failed = run(schedule(jobs.fail, ["of its own"], meta=meta))
        assert_one_failure(failed, "ValueError('of its own')")


def test_a_receiver_that_raises_is_logged_and_the_others_are_called(
    flush: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    def receive(signal: Signal, **_: Any) -> None:
        called.append(name_of(signal))

    schedule(jobs.note)
    both = ("job_started", "job_executed")
    with received(*both, by=raise_value_error), received(*both, by=receive):
        flush()
    assert called == ["job_started", "job_executed"]
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == [
        "the receiver's own"
    ] * 2
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_a_transaction_that_a_receiver_leaves_open_is_not_the_next_jobs(
    flush: Callable[..., Any],
) -> None:
    def receive(**_: Any) -> None:
        transaction.set_autocommit(False)
        Note.objects.create(text="never committed")

    for number in range(2):
        schedule(jobs.note, [str(number)])
    with received("job_executed", by=receive):
        assert flush().status == 0
    assert notes() == ["0", "1"]


def test_a_receiver_that_never_ends_does_not_keep_the_parent(
    flush: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_async import inquest

    def receive(**_: Any) -> None:
        time.sleep(DEADLINE)

    monkeypatch.setattr(inquest, "PATIENCE", 0.1)
    deadly = schedule(jobs.die, priority=9, meta={"max_attempts": 1})
    schedule(jobs.note)
    with received("job_discarded", by=receive):
        flush(workers=1, keep_going=True)
    assert (Job.objects.get(pk=deadly.pk).state, notes()) == ("discarded", ["noted"])


def test_without_receivers_a_job_costs_no_statement_more() -> None:
    def statements() -> list[str]:
        sent: list[str] = []
        job = schedule(jobs.nothing)
        with each_statement(lambda sql, _: sent.append(sql.split()[0])):
            job.execute()
        return sent

    without = statements()
    with received(*ENDS, by=do_nothing):
        assert statements() == without
    with received("job_started", by=raise_value_error):
        assert len(statements()) > len(without)


def test_a_worker_says_when_it_begins(flush: Callable[..., Any]) -> None:
    with received("worker_started", by=note_it):
        schedule(jobs.note)
        schedule(jobs.note)
        flush(workers=1, max_jobs_per_worker=1)
        assert notes()[:2] == ["worker_started", "noted"]
        assert notes().count("noted") == 2
        assert notes().count("worker_started") >= 2


def test_signals_can_be_imported_before_the_models_can() -> None:
    code = "import django_async.signals, sys; sys.exit('django_async.models' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
