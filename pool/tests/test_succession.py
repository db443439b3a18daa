"""While a process runs the last task that it may, the next one gets ready."""

import os
import signal
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from forkpool import ForkPool, WorkerDied
from forkpool.worker import Worker

FOREVER = 600


def span(seconds: float) -> tuple[float, float]:
    """When the task has run."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


@pytest.fixture
def successor(waiting: Any) -> Callable[[ForkPool], Worker]:
    """Waits for the one that is to follow the pool's only worker."""

    def find(pool: ForkPool) -> Worker:
        end = time.monotonic() + 60
        while len(pool._crew.workers) < 2 or not pool._crew.workers[1].ready:
            assert time.monotonic() < end, "there is none"
            assert pool.wait(0.01) == []
        found = pool._crew.workers[1]
        waiting.until(lambda: sleeps(found.pid))
        return found

    return find


def test_the_next_process_is_ready_when_one_goes_and_takes_no_task_before(
    waiting: Any, gate: Any, successor: Callable[[ForkPool], Worker]
) -> None:
    with ForkPool(1, ahead=1, max_tasks_per_child=2) as pool:
        first = waiting.run(pool, os.getpid).value
        assert pool.pids == [first]  # this one has a task to come
        pool.submit(gate.pass_through)
        second = successor(pool)
        assert pool.idle == 0
        early = pool.submit(os.getpid)
        waiting.until(lambda: sleeps(second.pid))
        assert pool.take_back() == [early]
        gate.open()
        assert waiting.ends(pool, 1)[0].value == first
        assert waiting.run(pool, os.getpid).value == second.pid


def test_that_the_next_process_is_ready_ends_no_wait(
    waiting: Any, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = Worker.hear

    def hear_and_open(worker: Worker, message: bytes) -> Any:
        was_ready, ended = worker.ready, hear(worker, message)
        if worker.ready and not was_ready:
            gate.open()
        return ended

    with ForkPool(1, max_tasks_per_child=1) as pool:
        waiting.idle(pool)
        monkeypatch.setattr(Worker, "hear", hear_and_open)
        pool.submit(gate.pass_through)
        assert len(pool.wait(60)) == 1


def test_the_next_process_follows_on_a_death(
    waiting: Any, gate: Any, successor: Callable[[ForkPool], Worker]
) -> None:
    with ForkPool(1, max_tasks_per_child=1) as pool:
        waiting.idle(pool)
        pool.submit(gate.pass_through)
        second = successor(pool)
        os.kill(pool.pids[0], signal.SIGKILL)
        assert isinstance(waiting.ends(pool, 1)[0].error, WorkerDied)
        assert waiting.run(pool, os.getpid).value == second.pid


def test_a_next_process_that_dies_is_replaced_as_any(
    waiting: Any, gate: Any, successor: Callable[[ForkPool], Worker]
) -> None:
    with ForkPool(1, max_tasks_per_child=1) as pool:
        waiting.idle(pool)
        pool.submit(gate.pass_through)
        dead = successor(pool)
        os.kill(dead.pid, signal.SIGKILL)
        waiting.until(lambda: dead.pid not in pool.pids or bool(pool.wait(0.01)))
        assert successor(pool).pid != dead.pid
        gate.open()
        waiting.ends(pool, 1)
        assert waiting.run(pool, os.getpid).value != dead.pid


def test_where_tasks_wait_the_one_after_the_next_is_started_as_well(
    waiting: Any, gate: Any
) -> None:
    with ForkPool(1, ahead=1, max_tasks_per_child=1, initializer=gate.pass_through) as pool:
        gate.open()
        waiting.idle(pool)
        [first] = pool.pids
        pool.submit(abs, -1)
        pool.submit(abs, -2)
        waiting.ends(pool, 1)
        while len(pool.pids) < 2 or first in pool.pids:  # the next one has not even started
            assert pool.wait(0.01) == []
        gate.open(2)
        waiting.ends(pool, 1)


def test_shutdown_waits_for_the_task_and_for_no_successor(
    waiting: Any, gate: Any, successor: Callable[[ForkPool], Worker]
) -> None:
    pool = ForkPool(1, max_tasks_per_child=1)
    with pool:
        waiting.idle(pool)
        pool.submit(gate.pass_through)
        second = successor(pool)
        gate.open()
        ended = pool.shutdown(60)
        assert [one.error for one in ended] == [None]
    waiting.gone(second.pid)


def test_shutdown_waits_for_no_successor_that_is_starting(waiting: Any, gate: Any) -> None:
    forks: list[None] = []

    def initializer() -> None:
        if len(forks) == 2:
            time.sleep(FOREVER)

    pool = ForkPool(
        1, max_tasks_per_child=1, initializer=initializer, before_fork=lambda: forks.append(None)
    )
    with pool:
        waiting.idle(pool)
        pool.submit(gate.pass_through)
        waiting.until(lambda: bool(pool.wait(0.01)) or len(pool.pids) == 2)
        gate.open()
        assert [end.error for end in pool.shutdown()] == [None]


def test_no_more_tasks_run_at_a_time_than_there_are_workers(waiting: Any) -> None:
    with ForkPool(2, ahead=4, max_tasks_per_child=1) as pool:
        waiting.idle(pool, 2)
        ends = []
        for _ in range(20):
            while not pool.room:
                ends += pool.wait(60)
            pool.submit(span, 0.005)
        ends += waiting.ends(pool, 20 - len(ends))
    moments = [(began, 1) for began, _ in (end.value for end in ends)]
    moments += [(ended, -1) for _, ended in (end.value for end in ends)]
    assert max(accumulate(change for _, change in sorted(moments))) <= 2
