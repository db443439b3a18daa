"""How workers start, and what happens if they do not."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forkpool import (
    ForkPool,
    ForkUnavailable,
    NotRunning,
    StartFailed,
    WorkerDied,
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


def test_before_and_after_each_fork_the_parent_is_called_and_no_thread_exists(waiting: Any) -> None:
    forks: list[tuple[str, int, int]] = []

    def note(when: str) -> None:
        forks.append((when, os.getpid(), threading.active_count()))

    with ForkPool(2, before_fork=partial(note, "<"), after_fork=partial(note, ">")) as pool:
        waiting.idle(pool, 2)
        waiting.run(pool, die, signal.SIGKILL)
        waiting.idle(pool, 2)
        waiting.run(pool, send_back, 1)
    assert forks == [("<", os.getpid(), 1), (">", os.getpid(), 1)] * 3


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
        assert pool.wait(0.05) == []
        gate.open()
        (ended,) = waiting.ends(pool, 1)
        assert (ended.task, ended.error) == (running, None)
        pool.submit(leave, 3)
        (ended,) = waiting.ends(pool, 1)
        assert isinstance(ended.error, WorkerDied)
        with pytest.raises(StartFailed, match="exited with code 1"):
            pool.wait(0)


def test_a_before_fork_that_raises_leaves_nothing_behind() -> None:
    calls: list[int] = []

    def before_fork() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise LookupError

    pool = ForkPool(2, before_fork=before_fork, after_fork=lambda: calls.append(-1))
    with pytest.raises(LookupError):
        pool.start()
    assert calls == [1, -1, 1, -1]  # what it had put aside is taken up again
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
    with pytest.raises(ValueError, match="at least 1, not"):
        ForkPool(workers, max_tasks_per_child=limit)
    with pytest.raises(ValueError, match="ahead must be at least 0, not -1"):
        ForkPool(1, ahead=-1)


def hang(folder: Path, times: int) -> None:
    """The first children never get ready."""
    (folder / str(os.getpid())).touch()
    if len(list(folder.iterdir())) <= times:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(FOREVER)


def test_a_child_that_does_not_get_ready_is_replaced(waiting: Any, tmp_path: Path) -> None:
    with ForkPool(1, initializer=partial(hang, tmp_path, 1), start_timeout=1) as pool:
        (first,) = pool.pids
        waiting.idle(pool)
        waiting.gone(first)
        assert pool.pids != [first]
        assert waiting.run(pool, send_back, 1).value == 1


@pytest.mark.usefixtures("short_pauses")
def test_children_that_never_get_ready_end_the_pool(tmp_path: Path) -> None:
    with (
        ForkPool(2, initializer=partial(hang, tmp_path, 100), start_timeout=0.1) as pool,
        pytest.raises(StartFailed, match=r"was not ready within 0\.1 s"),
    ):
        pool.wait(60)


def test_a_shutdown_does_not_wait_longer_for_a_child_to_get_ready(tmp_path: Path) -> None:
    pool = ForkPool(1, initializer=partial(hang, tmp_path, 1), start_timeout=0.1)
    pool.start()
    assert pool.shutdown() == []


def test_the_pauses_between_attempts_grow_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    attempts = starts.Starts()
    pauses = []
    for attempt in range(5):
        assert not attempts.exhausted
        attempts.note_failure(attempt, "out of luck")
        attempts.note_failure(attempt, "a sibling, forked at the same time")
        pauses.append(round(attempts.due - 1000, 3))
    assert pauses == [0.1, 0.3, 0.9, 2.0, 2.0]
    assert attempts.exhausted
    assert attempts.paused
    attempts.note_success()
    assert (attempts.failed, attempts.due) == (0, 0)


def test_a_pause_ends_by_itself_and_the_wakeup_is_heard_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for pause in ("_PAUSE", "_LONGEST_PAUSE"):
        monkeypatch.setattr(starts, pause, FOREVER)
    forks: list[int] = []
    reader, writer = os.pipe()

    def before_fork() -> None:
        forks.append(os.write(writer, b"."))

    try:
        with ForkPool(
            1, initializer=lambda: leave(1), before_fork=before_fork, wakeup=reader
        ) as pool:
            os.read(reader, 1)
            while pool.pids:
                assert pool.wait(0.01) == []
            os.write(writer, b".")
            assert pool.wait(None) == []
            os.read(reader, 1)
            assert len(forks) == 1
            pool._crew.starts.due = time.monotonic() + 0.05
            assert pool.wait(None) == []  # until the next fork
            assert len(forks) == 2
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.usefixtures("short_pauses")
def test_a_fork_that_fails_later_is_tried_again(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = os.fork
    failures = [BlockingIOError("too many processes")] * 2

    def fork_at_last() -> int:
        if failures:
            raise failures.pop()
        return fork()

    with ForkPool(1) as pool:
        waiting.idle(pool)
        monkeypatch.setattr(os, "fork", fork_at_last)
        assert isinstance(waiting.run(pool, leave, 3).error, WorkerDied)
        assert waiting.run(pool, send_back, 1).value == 1
        assert failures == []
        failures += [BlockingIOError("too many processes")] * 5
        pool.submit(leave, 3)
        waiting.ends(pool, 1)
        with pytest.raises(StartFailed, match="too many processes"):
            pool.wait(60)
