"""Ways to wait for a pool, each with a deadline: timing decides no test."""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import forkpool.clock
from forkpool import Ended, Pool

DEADLINE = 60.0  # seconds, after which something hangs


class Waiting:
    """Waits for what a test expects next."""

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for something outside of any pool."""
        end = time.monotonic() + DEADLINE
        while not happened():
            assert time.monotonic() < end, "it never happened"
            time.sleep(0.002)

    def ends(self, pool: Pool, count: int, wakeups: Iterable[int] = ()) -> list[Ended]:
        """Collect so many ends of tasks."""
        ended: list[Ended] = []
        end = time.monotonic() + DEADLINE
        while len(ended) < count:
            assert time.monotonic() < end, f"{len(ended)} of {count} tasks ended"
            ended += pool.wait(1, wakeups)
        return ended

    def idle(self, pool: Pool, count: int = 1) -> None:
        """Wait until so many workers are idle."""
        end = time.monotonic() + DEADLINE
        while pool.idle < count:
            assert time.monotonic() < end, f"{pool.idle} of {count} workers are idle"
            assert pool.wait(1) == []

    def run(self, pool: Pool, function: Callable[..., Any], *args: Any) -> Ended:
        """Run one task."""
        self.idle(pool)
        task = pool.submit(function, *args)
        (ended,) = self.ends(pool, 1)
        assert ended.task == task
        return ended

    def readable(self, descriptor: Any) -> None:
        """Wait for a descriptor."""
        ready, _, _ = select.select([descriptor], [], [], DEADLINE)
        assert ready, "nothing arrived"

    def stopped(self, pid: int) -> None:
        """Stop a worker of this process. A stop that has only been sent lets a read that waits
        take what comes before the worker is next on a processor."""
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)

    def gone(self, pid: int) -> None:
        """Wait for the end of a process that need not be a child of this one."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            self.readable(descriptor)
        finally:
            os.close(descriptor)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    """The clock of the pool's deadlines."""
    clock = Clock()
    monkeypatch.setattr(forkpool.clock, "time", clock)
    return clock


class Clock:
    """Stands for the module `time`: it can be put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def put_forward(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Reader and writer."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)
    with suppress(OSError):  # the test has closed it
        os.close(reader)


@pytest.fixture
def gate() -> Iterator["Gate"]:
    gate = Gate()
    yield gate
    gate.close()


class Gate:
    """Holds tasks back until the test lets them go on. Made before the workers are forked."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def open(self, tasks: int = 1) -> None:
        os.write(self._writer, b"." * tasks)

    def pass_through(self) -> int:
        """The task: blocks; returns the process id."""
        os.read(self._reader, 1)
        return os.getpid()

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)
