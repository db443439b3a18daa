"""A service in the process of the test, in a time of its own: its waits end at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from django.db import connections

from django_async import conf, fetch, glance
from django_async.changes import Changes
from django_async.engine import Duty, Engine
from django_async.hints import Hint, Share
from django_async.lane import Lane
from django_async.outcomes import Cancelled, Executed, Failed
from django_async.outlook import outlook
from django_async.parents import Registration
from django_async.patrol import Interval, Patrol
from django_async.runner import run_job
from django_async.terms import Attempt, Options
from django_async.wake import Ear
from forkpool import Ended, InlinePool, PoolBusy, Task

USUAL = Interval(0.05, 1.0)
GOES_ON = Options(keep_going=True)

ENOUGH = 10_000
"""Turns of the engine after which a test has failed."""


class Time:
    """Seconds that pass only when somebody waits or works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Served:
    """What a service did."""

    handed_out: list[tuple[float, Hint]] = field(default_factory=list)
    """And when."""
    taken_back: list[tuple[float, Hint]] = field(default_factory=list)
    """What was handed out and had not begun, and when it was taken back."""
    ended: list[Executed | Failed | Cancelled] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """The seconds of each wait with nothing to do."""

    @property
    def ids(self) -> list[int]:
        return [hint.id for _, hint in self.handed_out]


@dataclass
class Signals:
    """What an operator asks for."""

    count: int = 0
    hangups: int = 0

    def drain(self) -> None:
        """There is no descriptor."""


class Service:
    """``flush_queue --forever`` without processes: each job takes ``cost`` seconds of its time."""

    def __init__(
        self,
        *aliases: str,
        interval: Interval = USUAL,
        cost: float = 0.005,
        attempt: Attempt = run_job,
        ear: bool = False,
        watches: bool = False,
        options: Options = GOES_ON,
        ahead: int = 0,
    ) -> None:
        self.time = Time()
        self.served = Served()
        self.stop = Signals()
        self.cost = cost
        self.turns = 0
        self.each_turn: Callable[[], object] = lambda: None
        self.began: Callable[[Hint], object] = lambda hint: None
        """Is told which job begins, where that is not when it is handed out."""
        self.is_held = False
        """Whether what was handed out ahead of need does not begin for now."""
        self.until: Callable[[], Any] = lambda: True
        self.pool = _EagerPool(self, ahead) if ahead else _VirtualPool(self)
        self.lanes = [
            self._lane(alias, interval, ear, watches) for alias in aliases or ("default",)
        ]
        self.attempt, self.options = attempt, options

    def run(self, until: Callable[[], Any], *duties: Duty) -> Served:
        """Serve until this is true."""
        self.until = until
        with self.pool:
            Engine(
                lanes=self.lanes,
                pool=self.pool,
                clock=self.time,
                stop=self.stop,
                report=self,
                attempt=self.attempt,
                options=self.options,
                duties=duties,
            ).run()
        return self.served

    def handed_out(self, number: int, hint: Hint) -> None:
        self.served.handed_out.append((self.time.now, hint))

    def taken_back(self, number: int, hint: Hint) -> None:
        self.served.taken_back.append((self.time.now, hint))

    def ended(self, outcome: Executed | Failed | Cancelled) -> None:
        self.served.ended.append(outcome)

    def turn(self) -> bool:
        """Another turn of the engine; whether it was the last one."""
        self.turns += 1
        assert self.turns < ENOUGH, "the service turns and turns"
        self.each_turn()
        if self.until():
            self.stop.count = 1
        return self.stop.count > 0

    def _lane(self, alias: str, interval: Interval, ear: bool, watches: bool) -> Lane:
        reads = fetch.Fetch(alias, None, fetch.Selection())
        return Lane(
            using=alias,
            walk=Patrol(reads, conf.current().batch_size, self.time, interval),
            parent=Registration(alias, 1),
            pool=self.pool,
            clock=self.time,
            one_writer=connections[alias].vendor == "sqlite",
            ear=Ear(alias) if ear else None,
            changes=Changes(alias, interval.least) if watches else None,
        )


class _VirtualPool(InlinePool):
    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def submit(self, function: Callable[..., Any], *args: Any, **limits: float | None) -> Task:
        task = super().submit(function, *args, **limits)
        self._service.time.now += self._service.cost
        return task

    def wait(
        self, timeout: float | None = None, wakeups: Iterable[int] = (), rest: float = 0.0
    ) -> list[Ended]:
        ended, service = self._take_ended(), self._service
        if not service.turn() and not ended:
            assert timeout is not None, "the service would wait for ever"
            service.served.waits.append(timeout)
            service.time.now += timeout
        return ended


class _EagerPool(_VirtualPool):
    """One worker that has some tasks ahead of need: each wait lets it run the next one of them.

    It runs it behind the parent's back: between two waits the parent sees what waits.
    """

    def __init__(self, service: Service, ahead: int) -> None:
        super().__init__(service)
        self._most_ahead = ahead
        self._waiting: list[Task] = []
        self._submitted = 0

    @property
    def idle(self) -> int:
        return int(not self._waiting)

    @property
    def room(self) -> int:
        return 1 + self._most_ahead - len(self._waiting)

    @property
    def waiting(self) -> list[Task]:
        return list(self._waiting)

    @property
    def ahead(self) -> int:
        return max(0, len(self._waiting) - 1)

    @property
    def busy(self) -> int:
        return len(self._waiting)

    def submit(self, function: Callable[..., Any], *args: Any, **limits: float | None) -> Task:
        if not self.room:
            raise PoolBusy
        self._submitted += 1
        task = Task(self._submitted, function, args)
        self._waiting.append(task)
        return task

    def take_back(self) -> list[Task]:
        taken, self._waiting = self._waiting, []
        return taken

    def wait(
        self, timeout: float | None = None, wakeups: Iterable[int] = (), rest: float = 0.0
    ) -> list[Ended]:
        if not self._waiting or self._service.is_held:
            return super().wait(timeout, wakeups)
        task = self._waiting.pop(0)
        self._service.began(task.args[0])
        value = task.function(*task.args)
        self._service.time.now += self._service.cost
        self._service.turn()
        return [Ended(task, os.getpid(), value)]


@contextmanager
def slow_looks(time: Time, takes: float) -> Iterator[list[float]]:
    """Within the block, each read from the top takes so many seconds; when they began."""
    moments: list[float] = []

    def slowed(read: Callable[..., Any]) -> Callable[..., Any]:
        def look(*args: Any) -> Any:
            moments.append(time.now)
            found = read(*args)
            time.now += takes
            return found

        return look

    with (
        patch.object(fetch.Fetch, "page", slowed(fetch.Fetch.page)),
        patch.object(glance, "outlook", slowed(outlook)),
    ):
        yield moments


def place(service: Service, rank: int, parents: int) -> None:
    """Have the service be one of several parents."""
    for lane in service.lanes:
        lane.parent.share = lane.walk.share = Share(rank, parents)


def names(served: Served) -> Sequence[str]:
    """The calls of the jobs that ended, in order."""
    return [str(outcome.label) for outcome in served.ended]
