"""A database that does not answer holds up no other: a process of its own tries it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from django_async import schedule, scout
from django_async.access import LONG, RELAPSE, SHARE, Access
from django_async.api import schedule_many
from django_async.hints import Hint
from django_async.inquest import Inquest
from django_async.models import Error, Job
from django_async.outcomes import Lost
from django_async.turn import take_turn
from forkpool import ForkPool, NeverUnderWay, StartFailed
from suite import jobs
from suite.models import Note
from suite.processes import manage
from suite.together import DEADLINE, beside, wait_until

TABLE = Job._meta.db_table


class Clock:
    """Goes on as it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Whose statements take so long, and fail if that is too long."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.seconds, self.asked = clock, 0.0, 0

    def ask(self) -> str:
        self.asked += 1
        self.clock.now += self.seconds
        if self.seconds:
            connection.close()
            raise OperationalError("timeout")
        return "answer"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Server:
    return Server(clock)


def beside_others(clock: Clock) -> Access:
    access = Access("default", clock)
    access.beside_others()
    return access


@pytest.mark.django_db(transaction=True)
def test_after_a_try_that_took_long_it_is_left_alone_until_somebody_else_had_an_answer(
    clock: Clock, server: Server
) -> None:
    access = beside_others(clock)
    server.seconds = LONG + 1
    assert access.use(server.ask) is None
    assert access.is_silent
    clock.now += 1000
    assert access.use(server.ask) is None
    assert (server.asked, access.pause) == (1, float("inf"))
    server.seconds = 0
    access.has_answered()
    assert access.use(server.ask) == "answer"
    assert not access.outage.is_on


@pytest.mark.django_db(transaction=True)
def test_one_that_answers_others_only_takes_no_more_than_a_part_of_the_parents_time(
    clock: Clock, server: Server
) -> None:
    access = beside_others(clock)
    server.seconds, began = 5.0, clock.now
    for _ in range(20):
        access.use(server.ask)
        while access.is_silent:
            clock.now += 1
            if not access.rests:
                access.has_answered()
    assert server.asked == 20
    assert clock.now - began >= 19 * server.seconds * SHARE
    clock.now += RELAPSE
    access.use(server.ask)
    assert access.is_silent
    assert not access.rests


@pytest.mark.django_db(transaction=True)
def test_one_that_is_alone_or_refuses_at_once_is_tried_by_the_parent_itself(
    clock: Clock, server: Server
) -> None:
    for access, seconds in [(Access("default", clock), LONG + 1), (beside_others(clock), LONG / 2)]:
        server.seconds = seconds
        access.use(server.ask)
        assert (access.outage.is_on, access.is_silent) == (True, False)
        clock.now += access.pause
        asked = server.asked
        access.use(server.ask)
        assert server.asked == asked + 1


@contextmanager
def locked_table(using: str) -> Iterator[None]:
    """Within the block, nobody can read the jobs, as during an ALTER TABLE."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        cursor = connections[using].cursor()
        if connection.vendor == "mysql":
            cursor.execute(f"LOCK TABLES {TABLE} WRITE")
            held.set()
            release.wait(2 * DEADLINE)
            cursor.execute("UNLOCK TABLES")
            return
        with transaction.atomic(using=using):
            cursor.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
            held.set()
            release.wait(2 * DEADLINE)

    with beside(hold) as holder, ExitStack() as stack:
        stack.callback(release.set)
        assert held.wait(DEADLINE)
        yield
        assert not holder.done()


def is_executed(job: Job) -> bool:
    return Job.objects.using(job._state.db).executed().filter(pk=job.pk).exists()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="a file is never silent")
@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_a_table_that_is_locked_holds_up_no_other_database(tmp_path: Path) -> None:
    job = schedule(jobs.note, using="other")
    options = ("--forever", "--workers=1", "--database=other", "--database=default")
    log = tmp_path / "log"
    with log.open("w") as errors, ExitStack() as stack:
        with locked_table("other"):
            service = stack.enter_context(manage("flush_queue", *options, stderr=errors))
            wait_until(lambda: "The database is away ('other')" in log.read_text(), "the silence")
            wait_until(lambda: len(children(service.pid)) == 2, "the process that tries it")
            for number in range(5):
                other = schedule(jobs.note, [str(number)])
                wait_until(partial(is_executed, other), "a job beside the silence")
        wait_until(lambda: is_executed(job), "the job, after the silence")
        wait_until(lambda: len(children(service.pid)) == 1, "the end of that process")
        service.send_signal(signal.SIGTERM)
        assert service.wait(DEADLINE) == 0
    said = log.read_text()
    assert (said.count("The database is away"), said.count("The database is back")) == (1, 1)


@contextmanager
def read_only(using: str) -> Iterator[None]:
    """Within the block, new sessions cannot write, as on a standby; and there are new ones only."""
    name = connections[using].settings_dict["NAME"]
    connections[using].close()
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        try:
            yield
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )


@pytest.mark.skipif(connection.vendor != "postgresql", reason="elsewhere it is the whole server's")
@pytest.mark.parametrize("beside", [[], ["--database=default"]], ids=["alone", "beside others"])
@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_a_database_that_takes_no_writes_is_waited_for(tmp_path: Path, beside: list[str]) -> None:
    log = tmp_path / "log"
    options = ("--forever", "--workers=1", "--database=other", *beside)
    with log.open("w") as errors, manage("flush_queue", *options, stderr=errors) as service:
        first = schedule(jobs.note, using="other")
        wait_until(lambda: is_executed(first), "a job")
        with read_only("other"):
            wait_until(lambda: "read-only transaction" in log.read_text(), "the refusal")
            if beside:
                job = schedule(jobs.note)
                wait_until(lambda: is_executed(job), "a job beside it")
        connections["other"].close()
        last = schedule(jobs.note, using="other")
        wait_until(lambda: is_executed(last), "a job after it")
        service.send_signal(signal.SIGTERM)
        assert service.wait(DEADLINE) == 0


def ask_nonsense() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELEC 1")


@pytest.mark.django_db(transaction=True)
def test_one_that_refuses_what_the_queue_needs_ends_the_queue_if_it_is_alone_and_only_then(
    clock: Clock, server: Server
) -> None:
    access = Access("default", clock)
    with pytest.raises(DatabaseError):
        access.use(ask_nonsense)
    access.beside_others()
    assert access.use(ask_nonsense) is None
    assert access.outage.is_on
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django_async.trouble.try_to_write", lambda _: ask_nonsense())
        clock.now += access.pause
        assert access.use(server.ask) is None
    assert (server.asked, access.outage.is_on) == (0, True)
    clock.now += access.pause
    assert access.use(server.ask) == "answer"
    assert not access.outage.is_on


@pytest.mark.skipif(connection.vendor != "sqlite", reason="others have more than one writer")
@pytest.mark.django_db(transaction=True)
def test_sqlites_writer_is_no_silence_and_holds_up_the_others_for_a_moment_only(
    clock: Clock,
) -> None:
    access = beside_others(clock)
    held, release = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            take_turn("default")
            held.set()
            release.wait(DEADLINE)

    with beside(write) as writer:
        assert held.wait(DEADLINE)
        assert access.use(partial(take_turn, "default")) is None
        assert not writer.done()
        assert not access.outage.is_on
        release.set()
    with connection.cursor() as cursor:
        [[usual]] = cursor.execute("PRAGMA busy_timeout")
    assert usual == 5000


@pytest.mark.skipif(connection.vendor == "sqlite", reason="a file is never silent")
@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_claims_that_wait_for_a_locked_table_leave_the_workers_to_other_databases(
    tmp_path: Path,
) -> None:
    """Though its jobs were at hand when the lock came. None of them was attempted."""
    options = ("--forever", "--workers=2", "--database=other", "--database=default")
    number = 2000
    log = tmp_path / "log"
    with log.open("w") as errors, ExitStack() as stack:
        service = stack.enter_context(manage("flush_queue", *options, stderr=errors))
        first = schedule(jobs.note, using="other")
        wait_until(lambda: is_executed(first), "a job before the lock")
        schedule_many([{"function": jobs.note, "args": ["other"]}] * number, using="other")
        with locked_table("other"):
            for text in map(str, range(5)):
                wait_until(partial(is_executed, schedule(jobs.note, [text])), "a job beside it")
        waiting = Job.objects.using("other").filter(executed=None)
        wait_until(lambda: not waiting.exists(), "the jobs, after the lock")
        service.send_signal(signal.SIGTERM)
        assert service.wait(DEADLINE) == 0
    assert not Error.objects.using("other").exists()
    assert Note.objects.filter(text="other").count() == number


class Lane:
    """As much of one as a scout looks at."""

    def __init__(self, access: Access) -> None:
        self.using, self.access = "default", access


@pytest.mark.django_db(transaction=True)
def test_where_there_can_be_no_such_process_the_parent_tries_itself(
    clock: Clock, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise StartFailed

    monkeypatch.setattr(ForkPool, "start", refuse)
    access = Access("default", clock)
    lanes: Any = [Lane(access), Lane(Access("other", clock))]
    engine: Any = SimpleNamespace(is_halted=False)
    watch = scout.Scout(lanes)
    server.seconds = LONG + 1
    assert access.use(server.ask) is None
    assert access.pause == float("inf")
    watch.see_to(engine)
    assert access.pause == 0


@pytest.mark.django_db(transaction=True)
def test_what_a_claim_without_an_answer_may_hold_is_let_go_of_and_the_job_was_not_attempted(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr("django_async.sessions.end_all", lambda note, _: ended.append(note))
    job = schedule(jobs.note)
    hint = Hint(job.pk, job.attempts, job.priority, job.scheduled, job.group_id, job.meta)
    inquest = Inquest("default", clock)
    inquest.add_death(hint, NeverUnderWay(1, -15, "its sessions"), 5.0)
    assert list(inquest.look()) == [Lost(hint, taken=False)]
    assert ended == ["its sessions"]
    assert not inquest
    job.refresh_from_db()
    assert (job.state, job.attempts, job.errors.count()) == ("due", 0, 0)
