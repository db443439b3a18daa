"""Who dies, or is taken for dead, while a job runs without a transaction."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_async import ownership, schedule
from django_async.models import Error, Group, Job
from suite import abuse, alone, jobs
from suite.attempts import notes
from suite.locks import end_lock_session
from suite.processes import has_heeded_signals, is_alive, manage
from suite.testing import run_pass
from suite.together import DEADLINE, beside, elsewhere, locked, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]

DETACHED = {"atomic": False}
has_sessions = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no sessions")


def test_a_workers_death_is_recorded_by_its_parent_at_once_and_the_job_due_again_at_once(
    flush: Flush, tmp_path: Path
) -> None:
    job = schedule(abuse.die_once, [str(tmp_path), "SIGKILL"], meta=DETACHED)
    flushed = flush(workers=1, keep_going=True)
    assert "1 executed, 1 failed, 0 skipped" in flushed.output
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.priority) == ("executed", 2, 1, 5)
    assert "was killed by SIGKILL" in job.errors.get().exception
    assert notes() == ["died", "died", "survived"]


def test_from_the_second_death_on_the_back_off_applies(flush: Flush) -> None:
    job = schedule(abuse.end_process, ["SIGKILL"], meta=DETACHED)
    assert flush(workers=1, keep_going=True).status == 1
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.priority) == ("failed", 2, 2, 4)
    assert job not in Job.objects.due()


def test_a_job_that_kills_its_workers_is_given_up(flush: Flush) -> None:
    job = schedule(abuse.end_process, ["SIGKILL"], meta={"atomic": False, "backoff": 0})
    flush(workers=1, keep_going=True)
    flush(workers=1, keep_going=True)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes) == ("discarded", 3, 3)
    last = job.errors.latest("id")
    assert "discarded after 3 deaths of its worker" in last.exception


def test_a_death_before_it_began_counts_as_of_any_job(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "session", lambda using: abuse.end_process("SIGKILL"))
    job = schedule(jobs.note, meta={"atomic": False, "max_attempts": 1})
    flush(workers=1, keep_going=True)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.errors.count()) == ("discarded", 1, 1, 1)


def test_a_process_that_it_left_behind_does_not_hold_its_lock(flush: Flush, tmp_path: Path) -> None:
    """The copy has the sockets and the open files of the worker."""
    meta = {"atomic": False, "max_attempts": 1}
    job = schedule(abuse.leave_child_and_die, [str(tmp_path / "child")], meta=meta)
    assert flush(workers=1, keep_going=True).status == 1
    job.refresh_from_db()
    child = int((tmp_path / "child").read_text())
    assert (job.state, job.started, is_alive(child)) == ("discarded", None, True)
    os.kill(child, signal.SIGKILL)


def test_a_copy_that_it_forks_does_not_give_the_lock_back(flush: Flush) -> None:
    job = schedule(alone.fork_and_look_at_lock, meta=DETACHED)
    flush(workers=1)
    job.refresh_from_db()
    assert (job.state, job.result) == ("executed", "true")


def kill_everybody(tmp_path: Path, *args: Any, **more: Any) -> Job:
    """Schedule such a job, and let it die with its worker and its parent."""
    job = schedule(alone.kill_everybody_once, [str(tmp_path), *args], meta=DETACHED, **more)
    with manage("flush_queue", "--workers=1") as process:
        process.communicate(timeout=DEADLINE)
    assert process.returncode == -signal.SIGKILL
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes) == ("running", 1, 0)
    assert not Error.objects.exists()
    return job


@pytest.mark.parametrize("workers", [0, 1])
def test_the_death_of_worker_and_parent_is_recorded_by_who_gets_the_job_next_and_it_runs_again(
    workers: int, flush: Flush, tmp_path: Path
) -> None:
    group = Group.objects.create(reference="g")
    job = kill_everybody(tmp_path, group=group)
    group.on_completion(schedule(jobs.note, ["final"]))
    flushed = flush(workers=workers, keep_going=True)
    assert "2 executed, 1 failed, 0 skipped" in flushed.output
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.stamp) == ("executed", 2, 1, None)
    assert "worker and parent ended" in job.errors.get().exception
    assert notes() == ["killed", "survived", "final"]


@pytest.mark.parametrize("workers", [0, 1])
def test_if_it_was_cancelled_by_then_it_does_not_run_again(
    workers: int, flush: Flush, tmp_path: Path
) -> None:
    job = kill_everybody(tmp_path)
    assert job.cancel() is False
    flush(workers=workers, keep_going=True)
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("cancelled", 1)
    assert "worker and parent ended" in job.errors.get().exception
    assert notes() == ["killed"]


def test_by_hand_the_death_is_recorded_first(tmp_path: Path) -> None:
    job = kill_everybody(tmp_path)
    assert job.execute() == "survived"
    job.refresh_from_db()
    assert (job.attempts, job.crashes, job.errors.count()) == (2, 1, 1)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """One that runs until the file ``go`` is there."""
    return schedule(alone.wait_for, [str(tmp_path)], meta=DETACHED)


def wait_for_start(tmp_path: Path, number: int = 1) -> None:
    wait_until((tmp_path / f"began-{number}").exists, f"start {number}")


@pytest.mark.parametrize("workers", [0, 1])
def test_another_parent_leaves_a_running_job_alone(
    workers: int, flush: Flush, job: Job, tmp_path: Path
) -> None:
    with beside(job.execute) as running:
        wait_for_start(tmp_path)
        flushed = flush(workers=workers, keep_going=True)
        (tmp_path / "go").touch()
        running.result()
    assert (flushed.status, flushed.output[:31]) == (0, "0 executed, 0 failed, 1 skipped")
    job.refresh_from_db()
    assert (job.state, job.attempts, job.errors.count()) == ("executed", 1, 0)


@has_sessions
def test_if_its_lock_is_lost_and_nobody_takes_it_the_job_ends_as_ever(
    job: Job, tmp_path: Path
) -> None:
    with beside(job.execute) as running:
        wait_for_start(tmp_path)
        end_lock_session(job.pk)
        (tmp_path / "go").touch()
        running.result()
    job.refresh_from_db()
    assert (job.state, job.attempts, job.errors.count()) == ("executed", 1, 0)


@has_sessions
def test_if_its_lock_is_lost_and_its_death_recorded_its_late_end_is_refused(
    flush: Flush, job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with beside(alone.execute_or_say_why_not, job.pk) as running:
        wait_for_start(tmp_path)
        end_lock_session(job.pk)
        assert flush(jobs=1).status == 1
        (tmp_path / "go").touch()
        assert "attempted or is running elsewhere" in running.result()
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.errors.count()) == ("failed", 1, 1, 1)
    assert job in Job.objects.due()
    assert f"Job {job.pk} ended after its lock was lost" in caplog.text


@has_sessions
@pytest.mark.parametrize("how", ["return", "fail"])
def test_if_it_was_begun_again_by_then_it_is_executed_once_and_failed_once(
    how: str, tmp_path: Path
) -> None:
    job = schedule(alone.wait_for, [str(tmp_path), how], meta=DETACHED)
    with beside(alone.execute_or_say_why_not, job.pk):
        wait_for_start(tmp_path)
        end_lock_session(job.pk)
        with beside(run_pass) as second:
            wait_for_start(tmp_path, 2)
            (tmp_path / "go").touch()
            summary = second.result().summary
        assert (summary.executed, summary.failed) == (1, 1)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.errors.count()) == ("executed", 2, 1, 1)
    assert "WorkerDied" in job.errors.get().exception


@pytest.mark.parametrize("workers", [0, 1])
def test_who_stops_the_queue_at_once_leaves_the_job_as_it_was_with_an_error_that_says_so(
    workers: int, job: Job, tmp_path: Path, flush: Flush
) -> None:
    with manage("flush_queue", f"--workers={workers}") as process:
        wait_for_start(tmp_path)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: has_heeded_signals(process.pid), "the signal's arrival")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
    job.refresh_from_db()
    assert (job.state, job.attempts, job.crashes, job.priority) == ("due", 0, 0, 5)
    assert "Stopped" in job.errors.get().exception
    (tmp_path / "go").touch()
    assert flush().status == 0


@has_sessions
def test_a_worker_keeps_its_session_for_locks_and_has_a_new_one_when_that_has_ended(
    flush: Flush,
) -> None:
    for _ in range(2):
        schedule(alone.lock_session, meta=DETACHED)
    schedule(alone.end_lock_session_from_outside, meta=DETACHED)
    schedule(alone.lock_session, meta=DETACHED)
    assert flush(workers=1).status == 0
    first, second, ended, last = Job.objects.order_by("id").values_list("result", flat=True)
    assert first == second == ended != last


def test_elsewhere_no_session_outlasts_the_attempt() -> None:
    schedule(jobs.note, meta=DETACHED).execute()
    assert not ownership._sessions


@has_sessions
def test_an_end_that_finds_its_row_locked_waits_for_it(job: Job, tmp_path: Path) -> None:
    with beside(job.execute) as running:
        wait_for_start(tmp_path)
        with locked(job):
            (tmp_path / "go").touch()
            wait_until((tmp_path / "ended-1").exists, "the end")
            assert elsewhere(lambda: Job.objects.get(pk=job.pk).state) == "running"
        running.result()
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("executed", 1)
