"""A database that goes away, a session that ends: the pass waits, and goes on."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from hypothesis import given
from hypothesis import strategies as st

from django_async import schedule, store
from django_async.access import Access
from django_async.api import schedule_many
from django_async.errors import StopNow
from django_async.hints import Hint
from django_async.inquest import Inquest
from django_async.models import Job
from django_async.outage import LONGEST, Outage
from django_async.outcomes import End, Lost
from forkpool import WorkerDied
from suite import abuse, jobs
from suite.models import Note
from suite.service import Service
from suite.spying import each_statement
from suite.together import sessions_with

on_commits = pytest.mark.django_db(transaction=True)
has_sessions = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has no server, and so no sessions"
)

Flush = Callable[..., Any]

WRAPPER: Any = type(connections["default"])
DRIVER = WRAPPER.Database


def notes() -> list[str]:
    return sorted(Note.objects.values_list("text", flat=True))


@contextmanager
def parent_loses_session_at(number: int) -> Iterator[list[int]]:
    """The server ends this process's session before its statement of this number, counted from the
    one with which the pass makes itself known."""
    me, seen = os.getpid(), [0]

    def see(sql: str, params: Any) -> None:
        if os.getpid() != me:  # but a worker, which has inherited this
            return
        if seen[0] or "async_parent" in sql:
            seen[0] += 1
            if seen[0] == number:
                abuse.end_session_from_outside()

    with each_statement(see):
        yield seen


@on_commits
@has_sessions
@pytest.mark.parametrize("number", [*range(1, 16), 20, 25])
def test_a_parent_whose_session_ends_goes_on(
    number: int, flush: Flush, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"{n:02}" for n in range(20)]
    schedule_many([{"function": jobs.note, "args": [text], "priority": 6} for text in texts])
    schedule(abuse.end_process, ["SIGKILL"], priority=7, meta={"max_attempts": 2})
    schedule(jobs.fail, meta={"max_attempts": 1})
    with parent_loses_session_at(number) as seen:
        flushed = flush(workers=2, keep_going=True)
    assert seen[0] >= number
    assert flushed.status == 1
    assert flushed.output.startswith("20 executed, 3 failed")
    assert notes() == texts
    assert set(Job.objects.values_list("executed", flat=True).filter(errors=None)) != {None}
    states = sorted(job.state for job in Job.objects.all())
    assert states == ["discarded"] * 2 + ["executed"] * 20
    assert lines(caplog) in ([], ["away", "back"])


@on_commits
def test_what_was_recorded_before_the_database_went_away_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two workers have died, and the database goes away between the two records."""
    settle, inquest = store.settle, Inquest("default", time.monotonic)
    calls: list[int] = []

    def settle_or_fail(hint: Hint, *rest: Any) -> store.Settlement:
        calls.append(hint.id)
        if len(calls) == 2:
            raise OperationalError("away")
        return settle(hint, *rest)

    monkeypatch.setattr(store, "settle", settle_or_fail)
    for _ in range(2):
        job = schedule(jobs.note)
        inquest.add_death(Hint(job.pk, 0, 5, None, None), WorkerDied(1, -9), 0.0)
    told: list[End | Lost] = []
    with pytest.raises(OperationalError):
        told.extend(inquest.look())
    assert [end.hint.id for end in told] == calls[:1]
    assert len(inquest) == 1


def cut_short() -> None:
    raise StopNow


def cut_short_without_an_answer() -> None:
    """As mysqlclient, which hears of the signal when it has given up."""
    connection.close()
    try:
        raise DRIVER.OperationalError("no answer")
    except DRIVER.OperationalError:
        raise StopNow from None


@on_commits
@pytest.mark.parametrize(
    ("act", "is_away"), [(cut_short, False), (cut_short_without_an_answer, True)]
)
def test_what_the_operator_cuts_short_is_no_outage_unless_there_was_no_answer(
    act: Callable[[], None], is_away: bool
) -> None:
    access = Access("default", time.monotonic)
    with pytest.raises(StopNow):
        access.use(act)
    assert access.outage.is_on is is_away
    assert not access.busy
    assert connection.connection is None
    assert access.use(Job.objects.count) == (None if is_away else 0)


@on_commits
@has_sessions
def test_a_worker_whose_session_ends_fails_one_job_and_goes_on(flush: Flush) -> None:
    lost = schedule(abuse.lose_session, priority=9)
    schedule_many([{"function": jobs.note, "args": [str(n)]} for n in range(5)])
    flushed = flush(workers=1, keep_going=True)
    assert flushed.output.startswith("5 executed, 1 failed, 0 skipped")
    assert (lost.errors.count(), notes()) == (1, list("01234"))


@on_commits
@pytest.mark.parametrize("workers", [0, 2])
def test_a_database_that_is_away_for_a_while_is_waited_for(
    workers: int, flush: Flush, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    schedule_many([{"function": jobs.note, "args": [str(n)]} for n in range(10)])
    away = Away(5)
    monkeypatch.setattr(WRAPPER, "connect", away.connect)
    monkeypatch.setattr(WRAPPER, "_cursor", away.cursor)
    flushed = flush(workers=workers)
    assert (flushed.status, notes()) == (0, list("0123456789"))
    assert away.refusals == 5
    assert lines(caplog) == ["away", "back"]


class Away:
    """A database that is lost at the third statement of this process, and refuses so many tries."""

    def __init__(self, refusals: int) -> None:
        self.left, self.refusals, self.statements = refusals, 0, 0
        self.process = os.getpid()
        self._connect, self._cursor = WRAPPER.connect, WRAPPER._cursor

    @property
    def connect(self) -> Any:
        def connect(wrapper: Any) -> None:
            if self.is_away():
                self.refusals += 1
                self.left -= 1
                raise OperationalError("away")
            self._connect(wrapper)

        return connect

    @property
    def cursor(self) -> Any:
        def cursor(wrapper: Any, *args: Any) -> Any:
            self.statements += 1
            if self.statements == 3 and os.getpid() == self.process:
                wrapper.close()
            return self._cursor(wrapper, *args)

        return cursor

    def is_away(self) -> bool:
        return self.statements >= 3 and self.left > 0 and os.getpid() == self.process


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says about the database's absence, one word a line."""
    records = [one for one in caplog.records if one.name == "django_async.outage"]
    assert all(one.levelno == logging.WARNING for one in records)
    return ["away" if "is away" in one.getMessage() else "back" for one in records]


@on_commits
@has_sessions
def test_a_dead_workers_session_is_ended_in_the_middle_of_a_statement(flush: Flush) -> None:
    schedule(abuse.die_in_statement, [60.0], meta={"max_attempts": 1})
    assert flush(workers=1).status == 1
    assert Job.objects.get().state == "discarded"
    assert not sessions_with("%leep(60%")


@on_commits
@has_sessions
def test_a_dead_workers_session_is_ended_though_something_holds_its_socket(
    flush: Flush, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    schedule(abuse.leave_child_and_die, [str(path)], meta={"max_attempts": 1})
    assert flush(workers=1).status == 1
    os.kill(int(path.read_text()), signal.SIGKILL)
    assert Job.objects.get().state == "discarded"


@given(st.lists(st.floats(0, 3), max_size=60))
def test_an_outage_is_two_lines_however_often_it_is_noted(times: list[float]) -> None:
    now = 100.0
    outage = Outage(lambda: now)
    said: list[str] = []
    logger = logging.getLogger("django_async.outage")
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        outage.note("refused")
        for passed in times:
            now += passed
            outage.note("refused")
            assert outage.is_on
            assert 0 <= outage.pause <= LONGEST
        outage.end()
        outage.end()
    finally:
        logger.removeHandler(handler)
    assert not outage.is_on
    assert len(said) == 2


def test_tries_get_rarer_up_to_a_bound_and_a_short_return_does_not_reset_that() -> None:
    now = 0.0
    outage = Outage(lambda: now)
    pauses = []
    for _ in range(12):
        outage.note("refused")
        pauses.append(outage.pause)
        now += outage.pause
    assert pauses[0] <= 0.05 < pauses[-1] <= LONGEST
    outage.end()
    outage.note("refused")
    assert outage.pause > 0.4
    now += 60
    outage.end()
    pauses = []
    for _ in range(12):  # it is there for the parent each time, and never for a worker
        outage.note("refused")
        pauses.append(outage.pause)
        now += outage.pause
        outage.end()
    assert pauses[0] <= 0.05 < 0.4 < pauses[-1] <= LONGEST
    now += 60
    outage.end()
    outage.note("refused")
    assert outage.pause <= 0.05


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_a_database_without_its_tables_is_waited_for_and_keeps_no_other_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As while it is being made, or before its migrations."""
    here, there = schedule(jobs.note), schedule(jobs.note, using="other")
    service = Service("other", "default")
    states: list[str] = []

    def make_tables() -> None:
        here.refresh_from_db()
        if service.time.now > 5 and not states:
            states.append(here.state)
            rename("async_pause_later", "async_pause")

    service.each_turn = make_tables
    rename("async_pause", "async_pause_later")
    service.run(lambda: Job.objects.using("other").executed().filter(pk=there.pk).exists())
    assert states == ["executed"]
    lines = [record.message for record in caplog.records if record.name == "django_async.outage"]
    assert ["is away" in line for line in lines] == [True, False]


def rename(table: str, name: str) -> None:
    with connections["other"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")
