"""Tasks: how they travel, and which process runs them."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forkpool import (
    ForkPool,
    NotPicklable,
    TaskRaised,
)
from pool.tests.conftest import DEADLINE

FOREVER = 100_000.0  # seconds


def die(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(FOREVER)


def send_back(value: Any) -> Any:
    return value


def test_as_many_tasks_run_at_once_as_there_are_workers(waiting: Any, gate: Any) -> None:
    with ForkPool(3) as pool:
        waiting.idle(pool, 3)
        tasks = [pool.submit(gate.pass_through) for _ in range(3)]
        assert [task.number for task in tasks] == [1, 2, 3]
        assert (pool.idle, pool.room, pool.busy) == (0, 0, 3)
        waiting.until(lambda: not pool.waiting)
        gate.open(3)
        ends = waiting.ends(pool, 3)
        assert {end.value for end in ends} == {end.pid for end in ends} == set(pool.pids)


def test_large_messages_go_both_ways(waiting: Any) -> None:
    data = os.urandom(20_000_000)
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        pool.submit(send_back, data)
        pool.submit(send_back, data)
        assert [end.value == data for end in waiting.ends(pool, 2)] == [True, True]


def test_lambdas_and_closures_go_through_dill(waiting: Any) -> None:
    offset = 40

    def shift(number: int) -> Callable[[], int]:
        return lambda: number + offset

    with ForkPool(1) as pool:
        assert waiting.run(pool, shift, 2).value() == 42


def iterate() -> Iterator[int]:
    yield 1


def test_what_cannot_be_pickled_is_not_handed_out(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        with pytest.raises(NotPicklable, match="generator"):
            pool.submit(send_back, iterate())
        assert (pool.idle, pool.busy) == (1, 0)
        assert waiting.run(pool, send_back, 1).task.number == 1


def test_a_result_that_cannot_be_pickled_is_a_failure_of_the_task(waiting: Any) -> None:
    with ForkPool(1) as pool:
        error = waiting.run(pool, iterate).error
        assert isinstance(error, TaskRaised)
        assert "generator" in error.exception
        assert waiting.run(pool, send_back, 1).value == 1


class OnlyHere:
    """Can be pickled anywhere, and rebuilt in one process only."""

    def __init__(self, pid: int) -> None:
        if pid != os.getpid():
            raise ValueError("not here")
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return OnlyHere, (self.pid,)


class OnlyHereError(OnlyHere, Exception):
    pass


class BadlyPickledError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def make_only_here() -> OnlyHere:
    return OnlyHere(os.getpid())


def raise_only_here() -> None:
    raise OnlyHereError(os.getpid())


def raise_badly_pickled() -> None:
    raise BadlyPickledError(1, 2)


def test_a_result_that_cannot_be_rebuilt_fails_its_task_alone(waiting: Any) -> None:
    with ForkPool(1) as pool:
        ended = waiting.run(pool, make_only_here)
        assert isinstance(ended.error, NotPicklable)
        assert "not here" in str(ended.error)
        assert waiting.run(pool, send_back, 1).value == 1


def test_an_argument_that_cannot_be_rebuilt_fails_its_task_alone(waiting: Any) -> None:
    with ForkPool(1) as pool:
        error = waiting.run(pool, send_back, make_only_here()).error
        assert isinstance(error, TaskRaised)
        assert "not here" in error.exception
        assert waiting.run(pool, send_back, 1).value == 1


@pytest.mark.parametrize("function", [raise_only_here, raise_badly_pickled])
def test_an_exception_that_cannot_be_rebuilt_is_told_in_words(
    waiting: Any, function: Callable[[], None]
) -> None:
    with ForkPool(1) as pool:
        error = waiting.run(pool, function).error
        assert isinstance(error, TaskRaised)
        assert error.original is None
        assert f"in {function.__name__}" in error.traceback


@pytest.mark.parametrize("limit", [1, 3])
def test_a_child_runs_no_more_tasks_than_allowed(waiting: Any, limit: int) -> None:
    forks: list[int] = []
    with ForkPool(1, max_tasks_per_child=limit, before_fork=lambda: forks.append(1)) as pool:
        pids = [waiting.run(pool, os.getpid).value for _ in range(6)]
        assert pids == [pid for pid in pids[::limit] for _ in range(limit)]
        assert len(set(pids)) == 6 // limit
        assert len(forks) - 6 // limit in (0, 1)  # the next one may have been started


def test_a_worker_that_begins_with_anothers_task_makes_room_for_the_next(
    waiting: Any, gate: Any
) -> None:
    """The early one is ready, and a task is laid down for it; but the late one gets it."""
    forks: list[None] = []
    (begin_reader, begin), (runs, run_writer) = os.pipe(), os.pipe()

    def initializer() -> None:
        if len(forks) == 1:
            os.read(begin_reader, 1)

    def task() -> int:
        os.write(run_writer, b".")
        return int(gate.pass_through())

    with ForkPool(2, initializer=initializer, before_fork=lambda: forks.append(None)) as pool:
        waiting.idle(pool)
        late, early = pool.pids
        waiting.stopped(early)
        pool.submit(task)
        assert pool.room == 0
        os.write(begin, b".")
        waiting.readable(runs)
        before = time.monotonic()
        assert pool.wait(DEADLINE) == []
        assert time.monotonic() < before + DEADLINE
        assert pool.room == 1
        os.kill(early, signal.SIGCONT)
        gate.open()
        [ended] = waiting.ends(pool, 1)
        assert ended.value == late
    for descriptor in (begin_reader, begin, runs, run_writer):
        os.close(descriptor)


def test_a_wakeup_may_be_closed_before_a_fork(waiting: Any) -> None:
    """As a connection to a database is: its number is then free for the new worker's channel."""
    reader, writer = os.pipe()
    wakeups: list[int] = []

    def before_fork() -> None:
        while wakeups:
            os.close(wakeups.pop())

    with ForkPool(2, before_fork=before_fork) as pool:
        waiting.idle(pool, 2)
        wakeups.append(reader)
        os.kill(pool.pids[0], signal.SIGKILL)
        while wakeups:
            assert pool.wait(None, wakeups) == []
        waiting.idle(pool, 2)
        assert [waiting.run(pool, send_back, number).value for number in range(3)] == [0, 1, 2]
    os.close(writer)


def test_no_descriptor_is_left_open(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
    before = len(os.listdir("/proc/self/fd"))
    with ForkPool(3, max_tasks_per_child=2) as pool:
        for _ in range(9):
            waiting.run(pool, send_back, 1)
        waiting.run(pool, die, signal.SIGKILL)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_wakeup_that_an_exception_left_behind_is_forgotten(waiting: Any) -> None:
    """It came from a signal's handler, in the moment in which wait() was about to let it go."""
    left = os.eventfd(1)
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool._watch.wakeups([left])
        os.close(left)
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        waiting.until(lambda: pool.wait(1) == [] and pool.pids not in ([], [pid]))
        assert pool._crew.workers[0].channel.fileno() == left
        assert waiting.run(pool, send_back, 1).value == 1
