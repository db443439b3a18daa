"""``manage.py flush_queue``: its options, its refusals, what it says, and several of it at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from django_async import report, schedule
from django_async.api import schedule_many
from django_async.models import Error, Job
from django_async.outcomes import Cancelled, Executed, Failed
from suite import abuse, jobs
from suite.models import Note
from suite.processes import BARE, manage
from suite.together import DEADLINE

ON_SQLITE = connection.vendor == "sqlite"

several_writers = pytest.mark.skipif(ON_SQLITE, reason="SQLite has one writer at a time")
on_commits = pytest.mark.django_db(transaction=True)
in_a_test_case = pytest.mark.django_db
both_ways = pytest.mark.parametrize("workers", [0, 2])
one_at_a_time = pytest.mark.parametrize("workers", [0, 1])

Flush = Callable[..., Any]

FORGED = "a\nb\r\x1b[31m\x07\x85\u2028\u202e\u200fz"
"""Line breaks and control characters of all kinds."""


def notes() -> list[str]:
    return sorted(Note.objects.values_list("text", flat=True))


@on_commits
@one_at_a_time
def test_a_failure_ends_the_pass_with_status_1_and_one_line_about_it(
    flush: Flush, workers: int
) -> None:
    job = schedule(jobs.fail, ["first line\nsecond line"], priority=9)
    schedule(jobs.note)
    flushed = flush(workers=workers)
    assert flushed.status == 1
    assert flushed.error.startswith(f"{job.id}: suite.jobs.fail('first line\\nsecond line') failed")
    assert "ValueError('first line\\nsecond line')" in flushed.error
    assert len(flushed.error.splitlines()) == 1
    assert not notes()
    assert Job.objects.due().get().name == "suite.jobs.note"


@on_commits
@one_at_a_time
def test_with_keep_going_a_pass_goes_on_and_still_ends_with_status_1(
    flush: Flush, workers: int
) -> None:
    schedule(jobs.fail, ["the first"], priority=9)
    schedule(jobs.fail, ["the second"], priority=8)
    schedule(jobs.note)
    flushed = flush(workers=workers, keep_going=True)
    assert flushed.status == 1
    assert "the first" in flushed.error
    assert "1 executed, 2 failed, 0 skipped" in flushed.output
    assert notes() == ["noted"]


@on_commits
@several_writers
def test_after_a_failure_running_jobs_finish(
    flush: Flush, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_lines: report.Lines, outcome: Executed | Failed | Cancelled) -> None:
        if isinstance(outcome, Failed):
            (tmp_path / "failed").touch()

    monkeypatch.setattr(report.Lines, "ended", ended)
    schedule(abuse.outlast_failure, [str(tmp_path)], priority=9)
    schedule(abuse.fail_beside, [str(tmp_path)], priority=8)
    schedule(jobs.note, ["later"])
    flushed = flush(workers=2)
    assert flushed.status == 1
    assert "1 executed, 1 failed" in flushed.output
    assert notes() == ["outlasted"]


@in_a_test_case
def test_an_empty_queue_is_no_failure(flush: Flush) -> None:
    flushed = flush()
    assert flushed.status == 0
    assert flushed.output.startswith("0 executed, 0 failed, 0 skipped in ")


@on_commits
@both_ways
def test_jobs_limits_the_attempts_failed_ones_included(flush: Flush, workers: int) -> None:
    schedule(jobs.fail, priority=9)
    schedule_many([{"function": jobs.note}] * 10)
    flush(workers=workers, jobs=4, keep_going=True)
    assert Job.objects.executed().count() == 3
    assert Error.objects.count() == 1


@in_a_test_case
def test_filter_takes_names_that_start_exactly_so(flush: Flush) -> None:
    schedule(jobs.note)
    schedule(jobs.nothing)
    schedule("suite.Jobs_note")
    for prefix in ("suite.jobs.N", "suite.job%", "suite_jobs", "jobs.note", "SUITE."):
        flush(filter=prefix)
    assert not Job.objects.exclude(attempts=0).exists()
    flush(filter="suite.jobs.no")
    assert Job.objects.executed().count() == 2
    assert Job.objects.pending().get().name == "suite.Jobs_note"


@in_a_test_case
def test_queue_takes_the_named_queues_and_no_option_takes_all(flush: Flush) -> None:
    for queue in ("a", "b", "c", "A"):
        schedule(jobs.note, [queue], queue=queue)
    schedule(jobs.note, ["default"])
    flush(queue=["c", "a"])
    assert notes() == ["a", "c"]
    flush()
    assert notes() == ["A", "a", "b", "c", "default"]


@on_commits
@both_ways
def test_which_and_outof_split_the_jobs_by_their_ids(flush: Flush, workers: int) -> None:
    ids = [job.id for job in schedule_many([{"function": jobs.note}] * 10)]
    for which in range(3):
        flush(which=which, outof=3, workers=workers)
        done = Job.objects.executed().values_list("id", flat=True)
        assert set(done) == {job_id for job_id in ids if job_id % 3 <= which}


@in_a_test_case
def test_an_unknown_database_is_refused_with_the_known_ones(flush: Flush) -> None:
    flushed = flush(database="elsewhere")
    assert flushed.status == 1
    assert "'elsewhere'" in flushed.error
    assert "default" in flushed.error


@on_commits
def test_workers_auto_is_one_worker_for_each_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    together = 1 if ON_SQLITE else 3
    for _ in range(3):
        schedule(abuse.meet, [str(tmp_path), together])
    call_command("flush_queue", "--workers=auto", verbosity=0)
    assert Job.objects.executed().count() == 3


@on_commits
@pytest.mark.parametrize("limit", [1, 2])
def test_a_worker_is_replaced_after_as_many_jobs_as_it_may_run(flush: Flush, limit: int) -> None:
    schedule_many([{"function": abuse.pid}] * 6)
    flush(workers=2, max_jobs_per_worker=limit)
    counts = Counter(notes())
    assert sum(counts.values()) == 6
    assert max(counts.values()) <= limit
    assert str(os.getpid()) not in counts


@on_commits
def test_a_worker_runs_many_jobs_unless_told_otherwise(flush: Flush) -> None:
    schedule_many([{"function": abuse.pid}] * 10)
    flush(workers=1)
    assert len(set(notes())) == 1


@in_a_test_case
def test_workers_are_refused_inside_a_test_case_with_a_hint(flush: Flush) -> None:
    schedule(jobs.note)
    flushed = flush(workers=1)
    assert flushed.status == 1
    assert "TransactionTestCase" in flushed.error
    assert not notes()


@on_commits
@both_ways
def test_a_flush_is_refused_inside_an_open_transaction(flush: Flush, workers: int) -> None:
    schedule(jobs.note)
    with transaction.atomic():
        flushed = flush(workers=workers)
    assert flushed.status == 1
    assert "atomic()" in flushed.error
    assert not notes()


@pytest.mark.skipif(not ON_SQLITE, reason="only SQLite has databases in memory")
@on_commits
def test_workers_are_refused_for_a_database_in_memory_with_a_hint(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", ":memory:")
    flushed = flush(workers=1)
    assert flushed.status == 1
    assert '"TEST": {"NAME"' in flushed.error


@on_commits
def test_workers_are_refused_where_there_is_no_fork(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "fork")
    flushed = flush(workers=1)
    assert flushed.status == 1
    assert flushed.error == "This system forks no processes: leave out --workers."
    assert flush().status == 0


@on_commits
def test_where_there_is_no_posix_all_modules_import_and_jobs_run() -> None:
    schedule(jobs.note)
    with manage("flush_queue", script=BARE) as process:
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output.split(" in ")[0]) == (
        0,
        "1 executed, 0 failed, 0 skipped",
    ), errors
    with manage("flush_queue", "--workers=2", script=BARE) as process:
        _, errors = process.communicate(timeout=DEADLINE)
    assert "leave out --workers" in errors


@pytest.fixture(params=["WAL", "DELETE"] if ON_SQLITE else ["the server's"])
def journal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The journal of this database and of the commands that are run beside: on SQLite the
    recommended mode, and its default."""
    monkeypatch.setenv("SQLITE_JOURNAL", request.param)
    connection.close()  # the next one sets the mode
    yield request.param
    monkeypatch.undo()
    connection.close()


@on_commits
def test_several_flushes_at_once_run_each_job_exactly_once(journal: str) -> None:
    if ON_SQLITE:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            assert cursor.fetchone() == (journal.lower(),)
    schedule_many({"function": jobs.note, "args": [f"{number:02}"]} for number in range(60))
    with ExitStack() as stack:
        flushes = [stack.enter_context(manage("flush_queue", "--workers=2")) for _ in range(3)]
        said = [process.communicate(timeout=DEADLINE) for process in flushes]
    assert [errors for _, errors in said] == [""] * 3
    assert notes() == [f"{number:02}" for number in range(60)]
    assert not Job.objects.exclude(attempts=1, errors=None).exists()
    assert sum(int(output.split()[0]) for output, _ in said) == 60


@on_commits
@several_writers
def test_several_flushes_at_once_share_the_work(tmp_path: Path) -> None:
    """Each job waits for the two others, which only other processes can run meanwhile."""
    for _ in range(3):
        schedule(abuse.meet, [str(tmp_path), 3])
    with ExitStack() as stack:
        flushes = [stack.enter_context(manage("flush_queue")) for _ in range(3)]
        said = [process.communicate(timeout=DEADLINE) for process in flushes]
    assert [output.split()[0] for output, _ in said] == ["1"] * 3
    assert Job.objects.executed().count() == 3


@on_commits
def test_the_parents_connection_survives_its_workers(flush: Flush) -> None:
    schedule_many([{"function": jobs.note}] * 8)
    for _ in range(2):
        flush(workers=2, jobs=4, max_jobs_per_worker=1)
        assert Job.objects.exists()
    assert len(notes()) == 8
