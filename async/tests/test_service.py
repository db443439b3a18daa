"""``manage.py flush_queue --forever``, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_async import clock, schedule
from django_async.api import schedule_many
from django_async.models import Error, Job, Parent
from suite import abuse, jobs
from suite.models import Note
from suite.processes import manage
from suite.together import DEADLINE, locked, wait_for_a_waiter, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and workers are those of POSIX"),
]
on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only PostgreSQL notifies"
)

NEVER = 3600.0
"""Seconds between two looks: as good as none in a test."""


@contextmanager
def service(*options: str, workers: int = 1, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A service that has registered. It has to end by itself, or by a signal of the test's."""
    with manage(
        "flush_queue", "--forever", f"--workers={workers}", *options, settings=settings
    ) as process:
        wait_until(lambda: process.poll() is not None or Parent.objects.exists(), "its start")
        yield process


def stop(process: subprocess.Popen[str], signum: int = signal.SIGTERM) -> tuple[int, str, str]:
    """Exit code, output and errors of the service, which gets a signal."""
    process.send_signal(signum)
    output, errors = process.communicate(timeout=DEADLINE)
    return process.returncode, output, errors


def executed(*made: Job) -> Callable[[], bool]:
    keys = [job.pk for job in made]
    return lambda: Job.objects.executed().filter(pk__in=keys).count() == len(keys)


def test_it_runs_what_is_scheduled_while_it_is_there_and_drains_at_the_first_signal() -> None:
    with service() as process:
        for _ in range(2):
            job = schedule(jobs.note)
            wait_until(executed(job), "the job")
        status, output, errors = stop(process)
    assert (status, errors) == (0, "")
    assert "2 executed, 0 failed" in output
    assert not Parent.objects.exists()


def test_of_many_short_jobs_each_runs_once() -> None:
    """Its workers take them from one pipe, ahead of the parent's turn."""
    made = schedule_many({"function": jobs.note, "args": [str(number)]} for number in range(300))
    with service(workers=3):
        wait_until(executed(*made), "all of them")
    assert sorted(Note.objects.values_list("text", flat=True)) == sorted(map(str, range(300)))
    assert set(Job.objects.values_list("attempts", flat=True)) == {1}


def test_failures_and_deaths_do_not_stop_it_and_its_log_says_what_happened() -> None:
    with service() as process:
        failing, dying = schedule(jobs.fail), schedule(jobs.die, meta={"max_attempts": 1})
        wait_until(lambda: Error.objects.count() == 2, "both failures")
        good = schedule(jobs.note)
        wait_until(executed(good), "the job after them")
        status, output, errors = stop(process)
    assert status == 0
    assert "1 executed, 2 failed" in output
    assert f"Job {failing.pk} failed" in errors
    assert f"Job {dying.pk}" in errors


def test_with_stop_on_error_the_first_failure_ends_it_with_status_1() -> None:
    with service("--stop-on-error") as process:
        job = schedule(jobs.fail)
        _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert f"{job.pk}: suite.jobs.fail() failed" in errors


def test_a_job_starts_when_its_time_has_come_however_seldom_it_looks() -> None:
    early = schedule(jobs.note, run_after=timedelta(seconds=1.5))
    with service(POLL_MIN=NEVER, POLL_MAX=NEVER) as process:
        wait_until(executed(early), "the job whose time came")
        stop(process)


@on_postgresql
def test_a_commit_wakes_it_however_seldom_it_looks() -> None:
    with service(POLL_MIN=NEVER, POLL_MAX=NEVER) as process:
        for _ in range(3):
            job = schedule(jobs.note)
            wait_until(executed(job), "the job that it was told of")
        stop(process)


@on_postgresql
def test_it_hears_again_when_its_session_was_ended_and_misses_nothing_in_between() -> None:
    with service(POLL_MIN=NEVER, POLL_MAX=NEVER) as process:
        wait_until(executed(schedule(jobs.note)), "the job before")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
                " pg_backend_pid() AND datname = CURRENT_DATABASE() AND backend_type = %s",
                ["client backend"],
            )
        for _ in range(3):
            wait_until(executed(schedule(jobs.note)), "a job after")
        _, _, errors = stop(process)
    assert "Traceback" not in errors


def test_without_notifications_there_is_the_polling_interval() -> None:
    with service(NOTIFY=False, POLL_MIN=0.02, POLL_MAX=0.02) as process:
        wait_until(executed(schedule(jobs.note)), "the job that it found")
        stop(process)


def test_after_the_grace_what_runs_is_rolled_back_and_due_as_before(tmp_path: Path) -> None:
    signs = tmp_path / "signs"
    signs.mkdir()
    with service(STOP_GRACE=0.3) as process:
        job = schedule(abuse.wait_for, [str(tmp_path / "never"), str(signs)])
        wait_until(lambda: list(signs.iterdir()), "the job's start")
        status, _, errors = stop(process)
    job.refresh_from_db()
    assert (status, job.state, job.attempts, job.priority) == (0, "due", 0, 5)
    assert not Note.objects.exists()
    assert "Stopped(" in Error.objects.get().exception
    assert "grace" in errors


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
def test_the_grace_is_kept_though_the_cleaner_waits_for_a_lock() -> None:
    """For no job's, but for that of a row that goes with a job."""
    job = schedule(jobs.nothing)
    long_ago = clock.now("default") - timedelta(days=9)
    Job.objects.filter(pk=job.pk).update(started=long_ago, executed=long_ago)
    error = job.errors.create(exception="", traceback="")
    with locked(error), service(STOP_GRACE=0.3, RETENTION=1) as process:
        wait_for_a_waiter("DELETE FROM async_error%")
        status, _, errors = stop(process)
    assert status == 0
    assert "grace" in errors
    assert Job.objects.filter(pk=job.pk).exists()


def test_at_sighup_it_becomes_itself_anew_with_the_same_process_id() -> None:
    with service() as process:
        first = Parent.objects.get().token
        wait_until(executed(schedule(jobs.note)), "the job before")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: Parent.objects.exclude(token=first).exists(), "the new one's start")
        wait_until(executed(schedule(jobs.note)), "the job after")
        status, output, errors = stop(process)
    assert (status, errors) == (0, "")
    assert output.count("1 executed") == 2


def sockets(pid: int) -> int:
    found = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(file).startswith("socket")
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux tells what is open")
def test_it_takes_no_session_along_when_it_becomes_itself_anew() -> None:
    """Which nobody would ever end."""
    with service() as process:
        wait_until(executed(schedule(jobs.note)), "the job before")
        before, first = sockets(process.pid), Parent.objects.get().token
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: Parent.objects.exclude(token=first).exists(), "the new one's start")
        wait_until(executed(schedule(jobs.note)), "the job after")
        wait_until(lambda: sockets(process.pid) <= before, "no more sockets than before")
        assert stop(process)[0] == 0


def test_sigquit_stops_at_once(tmp_path: Path) -> None:
    signs = tmp_path / "signs"
    signs.mkdir()
    with service() as process:
        job = schedule(abuse.wait_for, [str(tmp_path / "never"), str(signs)])
        wait_until(lambda: list(signs.iterdir()), "the job's start")
        status, _, _ = stop(process, signal.SIGQUIT)
    assert status == 128 + signal.SIGQUIT
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("due", 0)


def test_under_reload_a_change_of_the_code_starts_it_anew(tmp_path: Path) -> None:
    """The new process runs the new code."""
    (tmp_path / "changing").mkdir()
    (tmp_path / "changing" / "__init__.py").touch()
    code = tmp_path / "changing" / "jobs.py"
    code.write_text("def say():\n    return 'old'\n")
    with manage(
        *("flush_queue", "--forever", "--workers=1", "--reload"),
        environment={"PYTHONPATH": str(tmp_path), "TEST_APPS": "changing"},
    ) as process:
        wait_until(lambda: process.poll() is not None or Parent.objects.exists(), "its start")
        job = schedule("changing.jobs.say")
        wait_until(executed(job), "the job of the old code")
        before = Parent.objects.get().token
        code.write_text("def say():\n    return 'new, and longer'\n")
        wait_until(lambda: Parent.objects.exclude(token=before).exists(), "the new one's start")
        again = schedule("changing.jobs.say")
        wait_until(executed(again), "the job of the new code")
        stop(process)
    results = [Job.objects.get(pk=one.pk).result for one in (job, again)]
    assert results == ['"old"', '"new, and longer"']


def test_one_service_may_serve_several_databases() -> None:
    """Which the engine's tests show; here, that the command does."""
    with service("--database=default", "--database=default") as process:
        wait_until(executed(schedule(jobs.note)), "the job")
        assert Parent.objects.count() == 1
        stop(process)


def test_times_beyond_any_timer_leave_it_a_service() -> None:
    endless: Any = dict.fromkeys(
        ("POLL_MAX", "RETENTION", "STOP_GRACE", "TIMEOUT", "TIMEOUT_GRACE"), 1e300
    )
    with service(**endless) as process:
        wait_until(executed(schedule(jobs.note)), "the job")
        status, _, errors = stop(process)
    assert (status, errors) == (0, "")
