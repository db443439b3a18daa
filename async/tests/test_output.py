"""What an operator hears of a pass: lines, a bar, the log; and what the system checks say."""

from __future__ import annotations

import io
import logging
import os
import pty
import sys
import termios
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from django_async import forking, report, schedule
from django_async.api import schedule_many
from django_async.models import Job
from django_async.terms import Summary
from suite import abuse, calls, jobs
from suite.processes import manage
from suite.together import DEADLINE

ON_SQLITE = connection.vendor == "sqlite"

on_commits = pytest.mark.django_db(transaction=True)
in_a_test_case = pytest.mark.django_db
both_ways = pytest.mark.parametrize("workers", [0, 2])

Flush = Callable[..., Any]

FORGED = "a\nb\r\x1b[31m\x07\x85\u2028\u202e\u200fz"
"""Line breaks and control characters of all kinds."""


@in_a_test_case
def test_the_verbosity_decides_between_nothing_a_summary_and_a_line_for_each_job(
    flush: Flush,
) -> None:
    def lines(verbosity: int) -> list[str]:
        job = schedule(jobs.note, [verbosity])
        assert job.id
        return list(flush(verbosity=verbosity).output.splitlines())

    assert lines(0) == []
    [summary] = lines(1)
    assert summary.startswith("1 executed, 0 failed, 0 skipped in ")
    assert summary.endswith(" jobs/s)")
    line, _ = lines(2)
    assert f"{Job.objects.latest('id').id}: suite.jobs.note(2) executed (" in line


@pytest.mark.parametrize(
    ("executed", "seconds", "rate"),
    [
        (0, 90.0, "0 jobs/s"),
        (3, 0.0, "0 jobs/s"),
        (1234, 2.0, "617 jobs/s"),
        (5, 2.0, "2.5 jobs/s"),
        (5, 100.0, "3.0 jobs/min"),
        (7, 86_400.0, "0.29 jobs/h"),
    ],
)
def test_a_rate_is_never_rounded_to_nothing(executed: int, seconds: float, rate: str) -> None:
    """A service's includes the time in which there was nothing to do."""
    summary = Summary(executed=executed, seconds=seconds)
    assert report.summarise(summary).endswith(f" in {seconds:.2f} s ({rate})")


@on_commits
def test_only_a_terminal_loads_the_library_of_the_bar() -> None:
    """Its import is time that each call from cron would pay."""
    job = schedule(calls.has_loaded, ["tqdm"])
    with manage("flush_queue") as process:
        _, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, Job.objects.get(pk=job.pk).result) == (0, "false"), errors


@on_commits
@both_ways
def test_the_line_of_a_job_names_its_call_whoever_runs_it(flush: Flush, workers: int) -> None:
    job = schedule(jobs.note, ["told"])
    line = flush(workers=workers, verbosity=2).output.splitlines()[0]
    assert line.startswith(f"{job.pk}: suite.jobs.note('told') executed")


@in_a_test_case
def test_at_verbosity_2_failed_and_discarded_jobs_have_their_lines_too(flush: Flush) -> None:
    schedule(jobs.fail, ["for now"], priority=9)
    schedule(jobs.fail, ["for ever"], meta={"max_attempts": 1})
    failed, discarded, _ = flush(verbosity=2, keep_going=True).output.splitlines()
    assert "suite.jobs.fail('for now') failed: ValueError('for now')" in failed
    assert "suite.jobs.fail('for ever') discarded: ValueError('for ever')" in discarded


@in_a_test_case
@pytest.mark.parametrize("column", ["name", "args"])
def test_no_name_and_no_argument_can_forge_a_line(
    flush: Flush, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    job = schedule(jobs.fail, [FORGED])
    if column == "name":
        Job.objects.filter(pk=job.pk).update(name=FORGED, args="not JSON")
    flushed = flush(verbosity=2)
    [record] = caplog.records
    line, _ = flushed.output.split("\n", 1)
    for text in (line, flushed.error, record.getMessage()):
        assert text.isprintable()
        assert "\\x1b[31m" in text


@on_commits
@both_ways
def test_a_failure_is_logged_as_an_error_with_its_traceback(workers: int) -> None:
    """By the process that ran the job: what it logs goes to its standard error."""
    job = schedule(jobs.fail, ["reason"])
    with manage("flush_queue", f"--workers={workers}") as process:
        _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert f"Job {job.id} failed: suite.jobs.fail('reason')" in errors
    assert "Traceback (most recent call last)" in errors
    assert "ValueError: reason" in errors


@in_a_test_case
@pytest.mark.parametrize(
    ("call", "errors"),
    [
        ({"function": jobs.fail, "args": ["reason"]}, [ValueError]),
        ({"function": abuse.hook, "args": ["fail", "exit"]}, [ValueError, SystemExit]),
        (
            {"function": jobs.fail, "meta": {"backoff": "suite.abuse.backoff_raises"}},
            [None, ValueError],
        ),
    ],
    ids=["a failure", "its commit hooks", "its back-off"],
)
def test_log_records_have_the_id_and_the_name_of_the_job(
    flush: Flush,
    caplog: pytest.LogCaptureFixture,
    call: dict[str, Any],
    errors: list[type[BaseException] | None],
) -> None:
    job = schedule(**call)
    flush()
    for record, error in zip(caplog.records, errors, strict=True):
        assert record.name.startswith("django_async")
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert error is None or isinstance(record.exc_info[1], error)
        assert (record.__dict__["job_id"], record.__dict__["job_name"]) == (job.id, job.name)


@pytest.fixture
def terminal() -> Iterator[tuple[int, Any]]:
    """A terminal: the descriptor that reads what it shows, and the file that writes to it."""
    shown, written = pty.openpty()
    termios.tcsetwinsize(written, (24, 80))
    with ExitStack() as stack:
        stack.callback(os.close, shown)
        yield shown, stack.enter_context(os.fdopen(written, "w"))


def read_all(terminal: int) -> str:
    """What a terminal shows until nobody can write to it any more."""
    shown = b""
    with suppress(OSError):  # EIO, at the end
        while chunk := os.read(terminal, 4096):
            shown += chunk
    return shown.decode()


@on_commits
@pytest.mark.parametrize("size", [(24, 80), (0, 0), (24, 0)])
def test_a_terminal_shows_a_bar_with_its_failures(
    terminal: tuple[int, Any], size: tuple[int, int]
) -> None:
    """Even one that does not know its size, as a container's."""
    shown, written = terminal
    termios.tcsetwinsize(written, size)
    schedule(jobs.fail)
    schedule_many([{"function": jobs.note}] * 4)
    with manage("flush_queue", "--workers=2", "--keep-going", stderr=written) as process:
        written.close()  # the last to hold it is the command, at whose end the reading ends
        text = read_all(shown)
        output, _ = process.communicate(timeout=DEADLINE)
    assert "100%|█" in text
    assert "5/5" in text
    assert "failed=1" in text
    assert output.startswith("4 executed, 1 failed, 0 skipped")


@on_commits
@pytest.mark.parametrize("shows_bar", [False, True])
def test_the_parent_has_one_thread_and_no_connection_whenever_it_forks(
    monkeypatch: pytest.MonkeyPatch, terminal: tuple[int, Any], shows_bar: bool
) -> None:
    """And after it the session of before, but on SQLite, whose files no child must have open."""
    from django_async.management.commands import flush_queue

    threads: list[int] = []

    def count_threads(needed: Collection[str]) -> None:
        forking.set_aside(needed)
        threads.append(len(list(Path("/proc/self/task").iterdir())))
        assert connection.connection is None

    monkeypatch.setattr(flush_queue, "set_aside", count_threads)
    errors = terminal[1] if shows_bar else io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    schedule_many([{"function": jobs.note}] * 5)
    session = connection.connection
    call_command(
        "flush_queue",
        workers=2,
        max_jobs_per_worker=1,
        stdout=io.StringIO(),
        stderr=errors,
    )
    assert len(threads) >= 5
    assert set(threads) == {1}
    assert (connection.connection is session) is not ON_SQLITE


@in_a_test_case
def test_before_a_fork_a_pool_of_connections_is_closed_after_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Django has one from 5.1 on, where psycopg_pool is installed."""
    closed: list[str] = []
    monkeypatch.setattr(connection, "close", lambda: closed.append("connection"))
    monkeypatch.setattr(connection, "close_pool", lambda: closed.append("pool"), raising=False)
    forking.close_connections()
    assert closed == ["connection", "pool"]


@on_commits
def test_the_checks_of_a_database_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check", databases=["default"], fail_level="WARNING")
    assert "no issues" in capsys.readouterr().out


@pytest.mark.skipif(not ON_SQLITE, reason="of SQLite's journal")
@on_commits
def test_a_check_recommends_the_write_ahead_journal(capsys: pytest.CaptureFixture[str]) -> None:
    def set_journal(mode: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA journal_mode={mode}")

    set_journal("DELETE")
    try:
        call_command("check", databases=["default"])
    finally:
        set_journal("WAL")
    assert "PRAGMA journal_mode=WAL" in capsys.readouterr().err


@pytest.mark.skipif(ON_SQLITE, reason="SQLite locks no rows")
@on_commits
def test_a_check_says_what_a_server_without_skip_locked_costs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection.features, "has_select_for_update_skip_locked", False)
    call_command("check", databases=["default"])
    assert "SKIP LOCKED" in capsys.readouterr().err
