"""An operator's signals, sent to ``manage.py flush_queue`` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from django_async import schedule
from django_async.models import Error, Job
from suite import abuse, jobs
from suite.models import Note
from suite.processes import has_heeded_signals, is_alive, manage
from suite.together import DEADLINE, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and workers are those of POSIX"),
]

SIGNALS = [signal.SIGINT, signal.SIGTERM]
AT_ONCE = 1 if connection.vendor == "sqlite" else 2
"""Jobs that run at the same time with two workers."""


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """Where running jobs leave a file named by their id, with the process id of their worker."""
    folder = tmp_path / "signs"
    folder.mkdir()
    return folder


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """The file for which running jobs wait."""
    return tmp_path / "go"


def running(signs: Path, number: int) -> list[int]:
    """The processes of so many running jobs, as soon as there are so many."""
    wait_until(lambda: len(_pids(signs)) == number, f"{number} running jobs")
    return _pids(signs)


def _pids(signs: Path) -> list[int]:
    return [int(text) for sign in signs.iterdir() if (text := sign.read_text())]


def sessions() -> int:
    """How many other sessions have a transaction open in this database."""
    sql = {
        "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = CURRENT_DATABASE()"
        " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        " AND backend_type = 'client backend'",
        "mysql": "SELECT COUNT(*) FROM information_schema.innodb_trx"
        " JOIN information_schema.processlist ON id = trx_mysql_thread_id"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    }
    if connection.vendor == "sqlite":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(sql[connection.vendor])
        return int(cursor.fetchone()[0])


def assert_nothing_is_left(pids: list[int]) -> None:
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "the workers' end")
    wait_until(lambda: not sessions(), "the end of the workers' sessions")


def wait_for_go(go: Path, signs: Path, number: int = 3) -> list[Job]:
    return [schedule(abuse.wait_for, [str(go), str(signs)]) for _ in range(number)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("signum", SIGNALS)
def test_the_first_signal_lets_running_jobs_finish_and_starts_no_other(
    go: Path, signs: Path, workers: int, signum: int
) -> None:
    wait_for_go(go, signs)
    at_once = AT_ONCE if workers else 1
    with manage("flush_queue", f"--workers={workers}") as process:
        pids = running(signs, at_once)
        process.send_signal(signum)
        assert_is_heeded(process)
        go.touch()
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (0, "")
    assert f"{at_once} executed, 0 failed" in output
    assert Job.objects.executed().count() == Note.objects.count() == at_once
    assert not Error.objects.exists()
    assert_nothing_is_left(pids)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("signum", SIGNALS)
def test_the_second_signal_rolls_running_jobs_back(
    go: Path, signs: Path, workers: int, signum: int
) -> None:
    wait_for_go(go, signs)
    with manage("flush_queue", f"--workers={workers}") as process:
        pids = running(signs, AT_ONCE if workers else 1)
        process.send_signal(signum)
        assert_is_heeded(process)
        process.send_signal(signum)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + signum
    assert_nothing_is_left(pids)
    assert not Note.objects.exists()
    assert Job.objects.due().count() == 3
    assert not Job.objects.exclude(attempts=0, priority=5, started=None).exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_attempt_that_was_cut_short_leaves_its_trace(
    go: Path, signs: Path, workers: int
) -> None:
    wait_for_go(go, signs)
    with manage("flush_queue", f"--workers={workers}") as process:
        running(signs, AT_ONCE if workers else 1)
        process.send_signal(signal.SIGINT)
        assert_is_heeded(process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    assert_traces_are_left(signs)


@pytest.mark.skipif(
    connection.vendor != "postgresql",
    reason="SQLite has no statement that waits, and mysqlclient hears no signal within one",
)
def test_it_does_so_too_if_the_parent_is_busy_with_a_statement(go: Path, signs: Path) -> None:
    wait_for_go(go, signs)
    with manage("flush_queue", "--workers=2") as process:
        running(signs, AT_ONCE)
        with parent_waits_for_its_table():
            process.send_signal(signal.SIGINT)
            assert_is_heeded(process)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: Error.objects.count() == AT_ONCE, "the traces")
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + signal.SIGINT
    assert_traces_are_left(signs)


@contextmanager
def parent_waits_for_its_table() -> Iterator[None]:
    """A parent looks at the others every other moment; within the block it gets no answer."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE async_parent IN ACCESS EXCLUSIVE MODE")

        def is_waited_for() -> bool:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            return bool(cursor.fetchone()[0])

        wait_until(is_waited_for, "a statement that waits")
        yield


def assert_traces_are_left(signs: Path) -> None:
    cut_short = {int(sign.name) for sign in signs.iterdir()}
    assert set(Error.objects.values_list("job_id", flat=True)) == cut_short
    assert all("Stopped" in error.exception for error in Error.objects.all())


def test_the_jobs_that_were_cut_short_run_in_the_next_pass(
    flush: Callable[..., Any], go: Path, signs: Path
) -> None:
    wait_for_go(go, signs)
    with manage("flush_queue", "--workers=2") as process:
        running(signs, AT_ONCE)
        process.send_signal(signal.SIGTERM)
        assert_is_heeded(process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
    go.touch()
    assert flush(workers=2).status == 0
    assert Job.objects.executed().count() == Note.objects.count() == 3


def test_a_failure_before_the_signal_still_gives_the_exit_status_1(go: Path, signs: Path) -> None:
    schedule(jobs.fail, priority=9)
    wait_for_go(go, signs)
    with manage("flush_queue", "--workers=2", "--keep-going") as process:
        running(signs, AT_ONCE)
        process.send_signal(signal.SIGTERM)
        assert_is_heeded(process)
        go.touch()
        _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "suite.jobs.fail()" in errors


def test_a_terminal_sends_its_ctrl_c_to_the_parent_only(go: Path, signs: Path) -> None:
    wait_for_go(go, signs)
    with manage("flush_queue", "--workers=2") as process:
        pids = running(signs, AT_ONCE)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole process group
        assert_is_heeded(process)
        assert all(is_alive(pid) for pid in pids)
        go.touch()
        process.communicate(timeout=DEADLINE)
    assert Job.objects.executed().count() == AT_ONCE


def test_nothing_outlives_a_parent_that_was_killed(
    flush: Callable[..., Any], go: Path, signs: Path
) -> None:
    wait_for_go(go, signs)
    with manage("flush_queue", "--workers=2") as process:
        pids = running(signs, AT_ONCE)
        process.kill()
        process.communicate(timeout=DEADLINE)
    assert_nothing_is_left(pids)
    assert not Note.objects.exists()
    assert Job.objects.due().count() == 3
    go.touch()
    assert flush(workers=2).status == 0
    assert Note.objects.count() == 3


def test_a_thread_that_a_job_left_behind_does_not_keep_the_command_from_ending() -> None:
    schedule(abuse.leave_thread)
    with manage("flush_queue", "--workers=1") as process:
        output, _ = process.communicate(timeout=DEADLINE)
    assert "1 executed" in output


def assert_is_heeded(process: subprocess.Popen[str]) -> None:
    """The next signal is another one: two of a kind that are pending would be one."""
    wait_until(lambda: has_heeded_signals(process.pid), "the signal's arrival")
