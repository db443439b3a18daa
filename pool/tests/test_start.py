"""How workers start, and what happens if they do not."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from forkpool import (
    ForkPool,
    ForkUnavailable,
    NotRunning,
    StartFailed,
    starts,
)

FOREVER = 100_000.0  # seconds


def die(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(FOREVER)


def leave(code: int) -> None:
    os._exit(code)


def send_back(value: Any) -> Any:
    return value


def test_the_initializer_runs_in_each_child(waiting: Any, tmp_path: Path) -> None:
    def initializer() -> None:
        (tmp_path / str(os.getpid())).touch()

    with ForkPool(2, initializer=initializer) as pool:
        waiting.idle(pool, 2)
        assert {int(path.name) for path in tmp_path.iterdir()} == set(pool.pids)


def test_before_fork_runs_in_the_parent_and_no_thread_exists(waiting: Any) -> None:
    forks: list[tuple[int, int]] = []

    def before_fork() -> None:
        forks.append((os.getpid(), threading.active_count()))

    with ForkPool(2, before_fork=before_fork) as pool:
        waiting.idle(pool, 2)
        waiting.run(pool, die, signal.SIGKILL)
        waiting.idle(pool, 2)
        waiting.run(pool, send_back, 1)
    assert forks == [(os.getpid(), 1)] * 3


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "_PAUSE", 0.001)


@pytest.mark.usefixtures("short_pauses")
def test_a_failing_initializer_is_tried_five_times_and_quoted(tmp_path: Path) -> None:
    def initializer() -> None:
        (tmp_path / str(os.getpid())).touch()
        raise ValueError("no database today")

    with ForkPool(1, initializer=initializer) as pool:
        with pytest.raises(StartFailed, match="ValueError: no database today"):
            pool.wait(60)
        assert len(list(tmp_path.iterdir())) == 5
        with pytest.raises(StartFailed):  # it does not get better
            pool.wait(0)
        assert pool.shutdown() == []


@pytest.mark.usefixtures("short_pauses")
def test_a_death_before_the_child_is_ready_is_told_by_its_exit_code() -> None:
    with (
        ForkPool(2, initializer=lambda: leave(7)) as pool,
        pytest.raises(StartFailed, match="exited with code 7"),
    ):
        pool.wait(60)


def test_a_start_that_fails_at_first_is_tried_again(waiting: Any, tmp_path: Path) -> None:
    def initializer() -> None:
        (tmp_path / str(os.getpid())).touch()
        if len(list(tmp_path.iterdir())) < 3:
            leave(1)

    with ForkPool(1, initializer=initializer) as pool:
        assert waiting.run(pool, send_back, 1).value == 1


@pytest.mark.usefixtures("short_pauses")
def test_starts_that_fail_later_do_not_lose_what_still_runs(
    waiting: Any, gate: Any, tmp_path: Path
) -> None:
    def initializer() -> None:
        if (tmp_path / "broken").exists():
            leave(1)

    with ForkPool(2, initializer=initializer) as pool:
        waiting.idle(pool, 2)
        (tmp_path / "broken").touch()
        running = pool.submit(gate.pass_through)
        dead = pool.submit(leave, 3)
        (ended,) = waiting.ends(pool, 1)
        assert ended.task == dead
        with pytest.raises(StartFailed, match="exited with code 1"):
            pool.wait(60)
        gate.open()
        (ended,) = pool.shutdown()
        assert ended.task == running
        assert ended.error is None


def test_a_before_fork_that_raises_leaves_nothing_behind() -> None:
    calls: list[int] = []

    def before_fork() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise LookupError

    pool = ForkPool(2, before_fork=before_fork)
    with pytest.raises(LookupError):
        pool.start()
    assert pool.pids == []
    with pytest.raises(NotRunning):
        pool.start()


def test_a_fork_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError("too many processes")

    descriptors = open_descriptors()
    pool = ForkPool(1)
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(BlockingIOError):
        pool.start()
    monkeypatch.undo()
    assert open_descriptors() <= descriptors


def open_descriptors() -> int:
    """Number of open sockets and pidfds: a failed fork of `multiprocess` itself leaves pipes."""
    kinds = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(kind.startswith(("socket:", "anon_inode:")) for kind in kinds)


def test_a_platform_without_fork_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ForkUnavailable, match="cannot fork"):
        ForkPool(1).start()


@pytest.mark.parametrize(("workers", "limit"), [(0, None), (-1, None), (1, 0)])
def test_numbers_that_make_no_sense_are_refused(workers: int, limit: int | None) -> None:
    with pytest.raises(ValueError, match="at least one"):
        ForkPool(workers, max_tasks_per_child=limit)
