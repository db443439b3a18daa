"""The time limit that the parent keeps: SIGTERM, then SIGKILL to the whole process group."""

import fcntl
import itertools
import os
import signal
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forkpool import (
    Ended,
    ForkPool,
    NeverUnderWay,
    Task,
    TimeLimitExceeded,
    WorkerDied,
    under_way,
)

SOON = 0.05  # seconds
FOREVER = 100_000.0


def send_back(value: Any) -> Any:
    return value


def spin() -> None:
    while True:
        pass


def spin_in_c() -> None:
    """No byte code is run in here, so that no handler written in Python is."""
    all(itertools.repeat(True))


def swallow_everything() -> None:
    while True:
        try:
            time.sleep(FOREVER)
        except BaseException:
            pass


def refuse(note: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(note).touch()
    swallow_everything()


def exceeded(ended: Ended) -> TimeLimitExceeded:
    assert isinstance(ended.error, TimeLimitExceeded)
    return ended.error


@pytest.mark.parametrize("function", [spin, spin_in_c, swallow_everything])
def test_a_task_that_takes_too_long_is_terminated(
    waiting: Any, function: Callable[[], None]
) -> None:
    with ForkPool(1, grace=FOREVER) as pool:
        waiting.idle(pool)
        before = time.monotonic()
        task = pool.submit(function, time_limit=SOON)
        (ended,) = waiting.ends(pool, 1)
        assert time.monotonic() - before >= SOON
        assert ended.task == task
        assert exceeded(ended).exitcode == -signal.SIGTERM
        assert exceeded(ended).limit == SOON
        assert waiting.run(pool, os.getpid).value != ended.pid


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def tell_and_spin(writer: int) -> None:
    os.write(writer, b".")
    spin_in_c()


def test_a_task_that_is_seen_before_its_workers_first_word_is_terminated(
    waiting: Any, pipe: tuple[int, int]
) -> None:
    """A worker that has a place from the start takes a task before the parent has heard of it."""
    reader, writer = pipe

    def see_its_task() -> None:
        if pool.busy:
            waiting.readable(reader)
            assert pool.running()

    with (pool := ForkPool(1, ahead=1, grace=FOREVER, after_fork=see_its_task)):
        waiting.idle(pool)
        pool.submit(die)
        pool.submit(tell_and_spin, writer, time_limit=SOON)
        dead, late = waiting.ends(pool, 2)
        assert isinstance(dead.error, WorkerDied)
        assert exceeded(late).exitcode == -signal.SIGTERM


def test_a_soft_limit_cannot_interrupt_c_and_the_other_one_does(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(spin_in_c, soft_time_limit=SOON, time_limit=4 * SOON)
        (ended,) = waiting.ends(pool, 1)
        assert exceeded(ended).limit == 4 * SOON


def test_a_task_that_refuses_is_killed_after_the_grace(
    waiting: Any, clock: Any, tmp_path: Path
) -> None:
    note = tmp_path / "refusing"
    with ForkPool(1, grace=FOREVER) as pool:
        waiting.idle(pool)
        pool.submit(refuse, str(note), time_limit=FOREVER)
        waiting.until(note.exists)
        clock.put_forward(FOREVER)
        assert pool.wait(SOON) == []  # it was asked to end
        assert pool.busy == 1
        clock.put_forward(FOREVER)
        (ended,) = waiting.ends(pool, 1)
        assert exceeded(ended).exitcode == -signal.SIGKILL


def refuse_with_children(note: str) -> None:
    """Grandchildren that ignore SIGTERM as well; one of them holds the channel open."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pid = os.fork()
    if pid:
        Path(note).write_text(f"{pid}.")
    swallow_everything()


@pytest.mark.parametrize("grace", [0.0, SOON])
def test_grandchildren_are_killed_too(
    waiting: Any, clock: Any, tmp_path: Path, grace: float
) -> None:
    note = tmp_path / "pid"
    with ForkPool(1, grace=grace) as pool:
        waiting.idle(pool)
        pool.submit(refuse_with_children, str(note), time_limit=FOREVER)
        waiting.until(lambda: note.exists() and note.read_text().endswith("."))
        clock.put_forward(FOREVER)
        (ended,) = waiting.ends(pool, 1)
        exceeded(ended)
        waiting.gone(int(note.read_text()[:-1]))


def test_others_are_not_disturbed(waiting: Any, gate: Any) -> None:
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        other = pool.submit(gate.pass_through)
        pool.submit(spin, time_limit=SOON)
        (ended,) = waiting.ends(pool, 1)
        exceeded(ended)
        gate.open()
        (ended,) = waiting.ends(pool, 1)
        assert (ended.task, ended.value) == (other, ended.pid)


class Signals:
    """Notes which processes get signals from the pool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[int, int]] = []
        kill = os.kill

        def note(pid: int, signum: int) -> None:
            self.sent.append((pid, signum))
            kill(pid, signum)

        monkeypatch.setattr(os, "kill", note)


def test_a_child_that_holds_its_next_task_gets_no_signal(
    waiting: Any, clock: Any, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = Signals(monkeypatch)
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(send_back, 1, time_limit=FOREVER)
        (ended,) = waiting.ends(pool, 1)
        assert ended.value == 1
        pool.submit(gate.pass_through)
        clock.put_forward(2 * FOREVER)
        assert pool.wait(0) == []
        gate.open()
        (ended,) = waiting.ends(pool, 1)
        assert [ended.value] == pool.pids
        assert signals.sent == []


def test_a_result_that_waits_to_be_read_is_in_time(
    waiting: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent was busy elsewhere until long after the deadline."""
    signals = Signals(monkeypatch)
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(bytes, 100_000, time_limit=FOREVER)
        channel = pool._crew.workers[0].channel
        waiting.until(lambda: unread(channel) > 100_000)
        clock.put_forward(2 * FOREVER)
        (ended,) = waiting.ends(pool, 1)
        assert ended.value == bytes(100_000)
        assert signals.sent == []


def unread(channel: Any) -> int:
    """How many bytes have arrived, and nobody has read."""
    number = bytearray(4)
    fcntl.ioctl(channel, termios.FIONREAD, number)
    return int.from_bytes(number, sys.byteorder)


def test_a_result_that_comes_after_the_last_look_is_in_time(
    waiting: Any, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It arrives between the select() that ended at the deadline, and the signal."""
    signals = Signals(monkeypatch)
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(gate.pass_through, time_limit=SOON)
        (worker,) = pool._crew.workers
        select = pool._watch.look

        def select_and_let_it_finish(timeout: float | None) -> Any:
            looks = select(timeout)
            if worker.late:
                gate.open()
                waiting.readable(worker.channel)
            return looks

        monkeypatch.setattr(pool._watch, "look", select_and_let_it_finish)
        (ended,) = waiting.ends(pool, 1)
        assert [ended.value] == pool.pids
        assert signals.sent == []


def finish_on_terminate(note: str) -> str:
    terminated: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: terminated.append(signum))
    Path(note).touch()
    while not terminated:
        time.sleep(0.001)
    return "finished"


def test_a_task_that_finishes_within_the_grace_has_finished(
    waiting: Any, clock: Any, tmp_path: Path
) -> None:
    """Its process is replaced, since the signal may be at work in there."""
    with ForkPool(1, grace=FOREVER) as pool:
        waiting.idle(pool)
        pool.submit(finish_on_terminate, str(tmp_path / "ready"), time_limit=FOREVER)
        waiting.until((tmp_path / "ready").exists)
        clock.put_forward(FOREVER)
        (ended,) = waiting.ends(pool, 1)
        assert ended.value == "finished"
        assert waiting.run(pool, os.getpid).value != ended.pid


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_stopped_process_is_ended_all_the_same(waiting: Any) -> None:
    with ForkPool(1, grace=SOON) as pool:
        waiting.idle(pool)
        pool.submit(stop, time_limit=SOON)
        (ended,) = waiting.ends(pool, 1)
        assert exceeded(ended).exitcode == -signal.SIGKILL


def test_shutdown_keeps_the_limits(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(spin, time_limit=SOON)
        (ended,) = pool.shutdown()
        exceeded(ended)


def test_a_death_before_the_limit_is_a_death(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(die, time_limit=FOREVER)
        (ended,) = waiting.ends(pool, 1)
        assert type(ended.error) is WorkerDied


def come_under_way(note: str) -> None:
    under_way()
    Path(note).touch()
    time.sleep(FOREVER)


def test_a_task_that_does_not_come_under_way_is_ended(waiting: Any) -> None:
    with ForkPool(1, grace=FOREVER) as pool:
        waiting.run(pool, under_way)  # which says nothing of the next task
        pool.submit(spin, begin_limit=SOON, time_limit=FOREVER)
        (ended,) = waiting.ends(pool, 1)
        assert isinstance(ended.error, NeverUnderWay)
        assert "did not come under way" in str(ended.error)
        assert waiting.run(pool, os.getpid).value != ended.pid


def come_under_way_when_told_to_end(note: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: under_way())
    Path(note).touch()
    swallow_everything()


def test_one_that_comes_under_way_at_the_last_moment_has_died_like_any_other(
    waiting: Any, clock: Any, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    with ForkPool(1, grace=FOREVER) as pool:
        waiting.idle(pool)
        pool.submit(come_under_way_when_told_to_end, str(note), begin_limit=FOREVER)
        waiting.until(note.exists)
        clock.put_forward(FOREVER)
        assert pool.wait(0) == []
        worker = pool._crew.workers[0]
        waiting.until(lambda: worker.task and worker._slot.under_way == worker.task.number)
        clock.put_forward(FOREVER)
        (ended,) = waiting.ends(pool, 1)
        assert type(ended.error) is WorkerDied


def test_one_that_is_under_way_has_all_its_time(waiting: Any, clock: Any, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with ForkPool(1, grace=FOREVER) as pool:
        waiting.idle(pool)
        pool.submit(come_under_way, str(note), begin_limit=60, time_limit=FOREVER)
        waiting.until(note.exists)
        for _ in range(2):
            clock.put_forward(60)
            assert pool.wait(0) == []
        (worker,) = pool._crew.workers
        assert not worker.overdue
        assert not worker.late  # or the parent would look at it again and again
        clock.put_forward(FOREVER)
        (ended,) = waiting.ends(pool, 1)
        exceeded(ended)


def test_a_limit_to_begin_within_is_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="more than nothing"):
        Task(1, spin, (), begin_limit=0)
