"""A rest at the beginning of wait(): ends are told together, and nothing else waits for them."""

import os
import signal
from typing import Any

import pytest

from forkpool import Ended, ForkPool, TimeLimitExceeded, WorkerDied
from forkpool.watch import Watch

FOREVER = 100_000.0  # seconds
SOON = 0.05


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stay() -> None:
    os.read(os.pipe()[0], 1)


def test_what_has_ended_meanwhile_is_told_at_once(
    waiting: Any, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForkPool(3) as pool:
        waiting.idle(pool, 3)
        tasks = [pool.submit(gate.pass_through) for _ in range(3)]
        waiting.until(lambda: len(pool.running()) == 3)
        gate.open(3)

        def rest(_watch: Watch, _seconds: float, _deaths: Any) -> None:
            """As long as it takes for all to have been reported."""
            for worker in pool._crew.workers:
                waiting.readable(worker.channel.fileno())

        monkeypatch.setattr(Watch, "rest", rest)
        assert sorted(end.task.number for end in pool.wait(None, rest=1.0)) == [
            task.number for task in tasks
        ]


def test_a_wakeup_ends_the_rest(waiting: Any, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with ForkPool(1, wakeup=reader) as pool:
        waiting.idle(pool)
        os.write(writer, b".")
        assert pool.wait(None, rest=FOREVER) == []


def test_a_wakeup_of_the_call_ends_the_rest(waiting: Any, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with ForkPool(1) as pool:
        waiting.idle(pool)
        os.write(writer, b".")
        assert pool.wait(None, [reader], rest=FOREVER) == []


def test_the_timeout_ends_the_rest(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        assert pool.wait(SOON, rest=FOREVER) == []


def test_a_tasks_time_limit_ends_the_rest(waiting: Any) -> None:
    with ForkPool(1, grace=SOON) as pool:
        waiting.idle(pool)
        pool.submit(stay, time_limit=SOON)
        waiting.until(lambda: pool.running())
        ends: list[Ended] = []
        while not ends:
            ends = pool.wait(None, rest=FOREVER)
        assert isinstance(ends[0].error, TimeLimitExceeded)


def test_a_death_ends_the_rest(waiting: Any) -> None:
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        pool.submit(stay)
        pool.submit(die)
        ends: list[Ended] = []
        while not ends:
            ends = pool.wait(None, rest=FOREVER)
        assert isinstance(ends[0].error, WorkerDied)
        pool.kill()


def test_while_a_worker_comes_or_goes_there_is_no_rest(
    waiting: Any, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first and its last words end no rest."""
    rests: list[float] = []
    monkeypatch.setattr(Watch, "rest", lambda _watch, seconds, _deaths: rests.append(seconds))
    with ForkPool(1, max_tasks_per_child=1, initializer=gate.pass_through) as pool:
        pool.wait(SOON, rest=FOREVER)
        assert rests == []
        gate.open()
        waiting.idle(pool)
        pool.wait(0, rest=FOREVER)
        assert len(rests) == 1
        pool.submit(abs, -1)
        waiting.ends(pool, 1)
        pool.wait(SOON, rest=FOREVER)
        assert len(rests) == 1
        gate.open()
