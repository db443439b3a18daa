"""What a service tells systemd, as sd_notify(3) has it: to a socket of our own."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from django.db import connection

from django_async import schedule, upkeep
from django_async.engine import Engine
from django_async.lane import Lane
from django_async.models import Job, Parent
from django_async.parents import Registration
from django_async.report import Lines
from django_async.terms import Stop, Summary
from django_async.upkeep import Supervisor
from django_async.walk import Walk
from forkpool import InlinePool
from suite import jobs
from suite.processes import manage
from suite.together import DEADLINE, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd is on Linux"),
]

READY, STOPPING, WATCHDOG = "READY=1", "STOPPING=1", "WATCHDOG=1"


@dataclass
class Manager:
    """The other end of NOTIFY_SOCKET."""

    ear: socket.socket

    def next(self) -> str:
        """The next message that is no sign of life."""
        while (message := self.any()).startswith(WATCHDOG):
            pass
        return message

    def any(self) -> str:
        """The next message."""
        self.ear.settimeout(DEADLINE)
        return self.ear.recv(4096).decode()

    def said(self) -> list[str]:
        """What has been said since the last time, save what the service does."""
        return [message.split("\nSTATUS=")[0] for message in self.messages()]

    def messages(self) -> list[str]:
        """All that has been said since the last time, word for word."""
        messages = []
        self.ear.setblocking(False)
        try:
            while True:
                messages.append(self.ear.recv(4096).decode())
        except BlockingIOError:
            return messages


@pytest.fixture(params=["a path", "an abstract name"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/notify" if request.param == "a path" else f"@{folder}/notify"


@pytest.fixture
def manager(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(address.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield Manager(ear)


@dataclass
class Stub:
    """As much of an engine as a supervisor looks at."""

    is_ready: bool = False
    is_halted: bool = False
    running: int = 0
    workers: int = 2
    summary: Summary = field(default_factory=Summary)


def see(supervisor: Supervisor, engine: Stub) -> float:
    return supervisor.see_to(cast(Engine, engine))


# What is said, and when.


def test_nothing_but_a_sign_of_life_is_said_before_the_service_is_ready(manager: Manager) -> None:
    supervisor, engine = Supervisor(lambda: False), Stub()
    assert see(supervisor, engine) == Supervisor.STARTING
    assert manager.said() == [WATCHDOG]
    engine.is_ready = True
    assert see(supervisor, engine) == Supervisor.NEWS
    assert manager.said() == [READY, WATCHDOG]


def test_ready_and_stopping_are_said_once(manager: Manager) -> None:
    supervisor, engine = Supervisor(lambda: False), Stub(is_ready=True)
    for _ in range(3):
        see(supervisor, engine)
    engine.is_halted = True
    for _ in range(3):
        see(supervisor, engine)
    supervisor.say_goodbye()
    assert [line for line in manager.said() if line != WATCHDOG] == [READY, STOPPING]


def test_a_service_that_drains_still_gives_signs_of_life(manager: Manager) -> None:
    supervisor = Supervisor(lambda: False)
    see(supervisor, Stub(is_halted=True))
    assert manager.said() == [STOPPING, WATCHDOG]


def test_a_service_that_is_stopped_while_it_starts_anew_says_so(manager: Manager) -> None:
    anew = True
    supervisor = Supervisor(lambda: anew)
    see(supervisor, Stub(is_halted=True))
    anew = False
    supervisor.say_goodbye()
    said = [line for line in manager.said() if line != WATCHDOG]
    assert said[0].startswith("RELOADING=1")
    assert said[1:] == [STOPPING]


def test_reloading_is_said_with_the_monotonic_time(manager: Manager) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Supervisor(lambda: True).say_goodbye()
    found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", manager.next())
    assert found
    assert before <= int(found[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_signs_of_life_come_twice_in_the_time_that_is_allowed(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert see(Supervisor(lambda: False), Stub(is_ready=True)) == 1.5


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert see(Supervisor(lambda: False), Stub(is_ready=True)) == Supervisor.NEWS


def test_a_sign_of_life_says_what_the_service_does(manager: Manager) -> None:
    summary = Summary(executed=120, failed=2)
    see(Supervisor(lambda: False), Stub(is_ready=True, running=1, summary=summary))
    said = "STATUS=1 of 2 workers at work; 120 jobs executed, 2 failed"
    assert manager.messages() == [READY, f"{WATCHDOG}\n{said}"]


def test_without_a_supervisor_nothing_is_said_and_nothing_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert see(Supervisor(lambda: False), Stub()) == upkeep.FOR_EVER


def test_a_supervisor_that_is_away_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    supervisor = Supervisor(lambda: False)
    for _ in range(3):
        see(supervisor, Stub(is_ready=True))
    assert caplog.text.count("could not be told") == 1


# What ready means.


class Workers(InlinePool):
    """Two workers, of which so many are up."""

    up = 0

    @property
    def idle(self) -> int:
        return self.up


def make_engine(pool: InlinePool, *aliases: str) -> Engine:
    lanes = [
        Lane(
            using=alias,
            walk=cast(Walk, None),
            parent=Registration(alias, 2),
            pool=pool,
            clock=time.monotonic,
        )
        for alias in aliases
    ]
    return Engine(
        lanes=lanes,
        pool=pool,
        clock=time.monotonic,
        stop=cast(Stop, None),
        report=Lines(lambda line: None, 0),
    )


def test_a_service_is_ready_when_all_workers_are_up_and_the_queue_was_reached() -> None:
    pool = Workers()
    engine = make_engine(pool, "default")
    lane = engine.lanes[0]
    ready = [engine.is_ready]
    pool.up = 2
    ready.append(engine.is_ready)
    lane.access.use(lane.parent.register)
    ready.append(engine.is_ready)
    pool.up = 1
    ready.append(engine.is_ready)
    assert ready == [False, False, True, False]
    lane.withdraw()


def test_a_service_is_not_ready_while_its_database_is_away() -> None:
    pool = Workers()
    pool.up = 2
    engine = make_engine(pool, "default")
    lane = engine.lanes[0]
    lane.access.use(lane.parent.register)
    lane.access.outage.note("away")
    assert not engine.is_ready
    lane.access.outage.end()
    lane.withdraw()


def test_one_database_of_several_is_enough_to_be_ready() -> None:
    pool = Workers()
    pool.up = 2
    engine = make_engine(pool, "default", "other")
    lane = engine.lanes[0]
    lane.access.use(lane.parent.register)
    engine.lanes[1].access.outage.note("away")
    assert engine.is_ready
    lane.withdraw()


# A service and its supervisor.


@pytest.mark.parametrize("address", ["a path"], indirect=True)
def test_a_service_tells_its_supervisor_all_through_its_life(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with manage("flush_queue", "--forever", "--workers=2") as service:
        assert manager.next() == READY
        assert Parent.objects.count() == 1
        assert len(_children(service.pid)) == 2
        assert all(manager.any().startswith(f"{WATCHDOG}\nSTATUS=0 of 2") for _ in range(2))

        service.send_signal(signal.SIGHUP)
        assert manager.next().startswith("RELOADING=1\nMONOTONIC_USEC=")
        service.send_signal(signal.SIGHUP)  # while it ends, or begins again
        while (message := manager.next()) != READY:
            assert message.startswith("RELOADING=1")

        job = schedule(jobs.note)
        wait_until(lambda: Job.objects.executed().filter(pk=job.pk), "the job after the start anew")
        service.send_signal(signal.SIGTERM)
        wait_until(lambda: STOPPING in manager.said(), "the word that it stops")
        _, errors = service.communicate(timeout=DEADLINE)
    assert (service.returncode, errors) == (0, "")
    assert not Parent.objects.exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="a file is never away")
def test_a_service_begins_while_one_of_its_databases_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = schedule(jobs.note)
    monkeypatch.setattr("suite.processes._name_of_other", lambda: "nowhere_at_all")
    options: Any = ("--forever", "--skip-checks", "--database=other", "--database=default")
    # Django's own checks ask each MariaDB and MySQL for its version.
    with manage("flush_queue", "--workers=1", *options) as service:
        wait_until(lambda: Job.objects.executed().filter(pk=job.pk), "the job of the other queue")
        service.send_signal(signal.SIGTERM)
        _, errors = service.communicate(timeout=DEADLINE)
    assert service.returncode == 0
    assert "The database is away" in errors


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
