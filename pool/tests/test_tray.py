"""Tasks that are submitted ahead of need: workers take them in order, and once each."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from forkpool import Ended, ForkPool, PoolBusy, TimeLimitExceeded, WorkerDied, WorkerInterrupted
from forkpool.board import RECORD_SIZE, Slot
from forkpool.tray import Tray
from pool.tests.conftest import Gate, Waiting

FOREVER = 100_000.0  # seconds
SOON = 0.05


@pytest.fixture
def tray() -> Iterator[Tray]:
    tray = Tray()
    tray.start()
    yield tray
    tray.close()


def taken(tray: Tray, slot: Slot) -> tuple[int, bytes | None]:
    record = tray.take(slot)
    assert record is not None
    return record


def test_tasks_are_taken_in_order_and_stand_in_the_slot(tray: Tray) -> None:
    slot = Slot()
    for number in (1, 2):
        assert tray.put(number, b"task %d" % number)
    assert (taken(tray, slot), slot.taken) == ((1, b"task 1"), 1)
    assert (taken(tray, slot), slot.taken) == ((2, b"task 2"), 2)
    tray.end()
    assert tray.take(slot) is None


@pytest.mark.parametrize("size", [0, 1, RECORD_SIZE - 12, RECORD_SIZE - 11, 10 * RECORD_SIZE])
def test_a_message_that_is_too_long_is_to_be_asked_for(tray: Tray, size: int) -> None:
    assert tray.put(7, bytes(size))
    assert taken(tray, Slot()) == (7, bytes(size) if size <= RECORD_SIZE - 12 else None)


def test_what_nobody_has_taken_is_taken_back_once(tray: Tray) -> None:
    for number in (1, 2, 3):
        tray.put(number, b"")
    assert taken(tray, Slot())[0] == 1
    assert tray.take_back() == [2, 3]
    assert tray.take_back() == []


def test_a_full_tray_takes_nothing_more_and_loses_nothing(tray: Tray) -> None:
    number = 0
    while tray.put(number + 1, b""):
        number += 1
    assert number >= 16
    assert tray.take_back() == list(range(1, number + 1))
    assert tray.put(number + 1, b"")


def square(number: int) -> int:
    return number**2


def test_there_is_room_for_so_many_more_than_workers(waiting: Any, gate: Any) -> None:
    with ForkPool(2, ahead=3) as pool:
        assert pool.room == 0  # nobody is there yet
        waiting.idle(pool, 2)
        assert (pool.idle, pool.room) == (2, 5)
        tasks = [pool.submit(gate.pass_through) for _ in range(5)]
        with pytest.raises(PoolBusy):
            pool.submit(square, 1)
        waiting.until(lambda: pool.waiting == tasks[2:])
        assert (pool.idle, pool.room, pool.ahead, pool.busy) == (0, 0, 3, 5)
        assert [one.task for one in pool.running()] == tasks[:2]
        gate.open(5)
        assert len(waiting.ends(pool, 5)) == 5
        assert (pool.idle, pool.room, pool.busy) == (2, 5, 0)


def test_a_worker_takes_the_next_task_while_the_parent_does_nothing(
    waiting: Any, tmp_path: Path
) -> None:
    notes = [tmp_path / str(number) for number in range(4)]
    with ForkPool(1, ahead=3) as pool:
        waiting.idle(pool)
        for note in notes:
            pool.submit(Path.touch, note)
        waiting.until(lambda: all(note.exists() for note in notes))
        assert [end.task.number for end in waiting.ends(pool, 4)] == [1, 2, 3, 4]


def test_what_is_taken_back_does_not_run_and_leaves_its_room(waiting: Any, gate: Any) -> None:
    with ForkPool(1, ahead=2) as pool:
        waiting.idle(pool)
        first = pool.submit(gate.pass_through)
        waiting.until(lambda: pool.running())
        others = [pool.submit(square, 2), pool.submit(bytes, 10 * RECORD_SIZE)]
        assert pool.take_back() == others
        assert (pool.room, pool.busy, pool.waiting) == (2, 1, [])
        last = pool.submit(square, 3)
        gate.open()
        assert [end.task for end in waiting.ends(pool, 2)] == [first, last]


def test_as_many_go_ahead_as_may(waiting: Any) -> None:
    """Also more than a pipe usually holds."""
    gate = Gate()
    with ForkPool(1, ahead=100) as pool:
        waiting.idle(pool, 1)
        for left in range(100, -1, -1):
            pool.submit(gate.pass_through)
            assert pool.room == left
        with pytest.raises(PoolBusy):
            pool.submit(gate.pass_through)
        pool.take_back()
        gate.open()
    gate.close()


def test_where_a_pipe_cannot_be_larger_less_goes_ahead(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.F_SETPIPE_SZ", -1)
    with ForkPool(1, ahead=100) as pool:
        waiting.idle(pool, 1)
        gate = Gate()
        submitted = 0
        while pool.room:
            pool.submit(gate.pass_through)
            submitted += 1
        assert 1 < submitted < 101
        pool.take_back()
        gate.open()
    gate.close()


def test_without_proc_nothing_goes_ahead(waiting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: str, *args: Any) -> int:
        if path.startswith("/proc/self/fd"):
            raise FileNotFoundError(path)
        return opened(path, *args)

    monkeypatch.setattr(os, "open", refuse)
    with ForkPool(1, ahead=5) as pool:
        waiting.idle(pool)
        assert pool.room == 1
        assert waiting.run(pool, square, 3).value == 9


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(FOREVER)


def test_a_death_takes_its_own_task_with_it_and_not_the_waiting_ones(waiting: Any) -> None:
    with ForkPool(1, ahead=3) as pool:
        waiting.idle(pool)
        pool.submit(square, 1)
        doomed = pool.submit(die)
        pool.submit(square, 2)
        pool.submit(square, 3)
        ends = waiting.ends(pool, 4)
    assert [end.value for end in ends] == [1, None, 4, 9]
    assert [end.task for end in ends if isinstance(end.error, WorkerDied)] == [doomed]


def spin() -> None:
    while True:
        pass


def test_a_task_that_takes_too_long_takes_none_of_the_waiting_with_it(waiting: Any) -> None:
    with ForkPool(1, ahead=2) as pool:
        waiting.idle(pool)
        slow = pool.submit(spin, time_limit=SOON)
        pool.submit(square, 2, time_limit=FOREVER)
        ends = waiting.ends(pool, 2)
    assert ends[0].task == slow
    assert isinstance(ends[0].error, TimeLimitExceeded)
    assert ends[1].value == 4


def outlast(note: str) -> str:
    """Ends at a SIGTERM, as if nothing were."""
    terminated: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: terminated.append(signum))
    Path(note).touch()
    while not terminated:
        time.sleep(0.001)
    return "finished"


def test_who_was_asked_to_end_takes_no_other_task(waiting: Any, clock: Any, tmp_path: Path) -> None:
    """Else that one would be struck by the SIGKILL which is to follow."""
    with ForkPool(1, ahead=2, grace=FOREVER) as pool:
        waiting.idle(pool)
        pool.submit(outlast, str(tmp_path / "note"), time_limit=FOREVER)
        pool.submit(os.getpid)
        waiting.until((tmp_path / "note").exists)
        clock.put_forward(FOREVER)
        first, second = waiting.ends(pool, 2)
        assert first.value == "finished"
        assert second.value == second.pid != first.pid


def test_a_signal_spares_who_has_ended_its_task_meanwhile(
    waiting: Any, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has taken another one since the parent's last look."""
    with ForkPool(1, ahead=2) as pool:
        waiting.idle(pool)
        pool.submit(gate.pass_through, time_limit=SOON)
        pool.submit(gate.pass_through)
        (worker,) = pool._crew.workers
        press = worker.press

        def let_it_end_and_press() -> None:
            gate.open()
            waiting.until(lambda: worker._slot.taken == 2)
            press()

        monkeypatch.setattr(worker, "press", let_it_end_and_press)
        (first,) = waiting.ends(pool, 1)
        assert first.value == first.pid
        gate.open()
        (second,) = waiting.ends(pool, 1)
        assert second.value == first.pid


def test_a_waiting_task_is_interrupted_once_it_has_begun(waiting: Any, gate: Any) -> None:
    with ForkPool(1, ahead=1, grace=SOON) as pool:
        waiting.idle(pool)
        pool.submit(gate.pass_through)
        unwanted = pool.submit(interruptible_spin)
        assert pool.interrupt(unwanted.number)
        gate.open()
        first, second = waiting.ends(pool, 2)
        assert first.error is None
        assert second.task == unwanted
        assert "TaskInterrupted" in str(second.error) or isinstance(second.error, WorkerInterrupted)


def interruptible_spin() -> None:
    from forkpool import interruptible

    with interruptible():
        spin()


@pytest.mark.parametrize("ahead", [0, 4])
def test_shutdown_lets_all_finish_that_was_submitted(waiting: Any, ahead: int) -> None:
    with ForkPool(2, ahead=ahead) as pool:
        waiting.idle(pool, 2)
        tasks = [pool.submit(square, number) for number in range(2 + ahead)]
        ends = pool.shutdown()
    assert sorted(end.task.number for end in ends) == [task.number for task in tasks]


def test_workers_that_live_for_one_task_find_the_next_one_waiting(waiting: Any) -> None:
    ends: list[Ended] = []
    with ForkPool(2, ahead=4, max_tasks_per_child=1) as pool:
        waiting.idle(pool, 2)
        for number in range(20):
            while not pool.room:
                ends += pool.wait(60)
            pool.submit(square, number)
        ends += waiting.ends(pool, 20 - len(ends))
    assert sorted(end.value for end in ends) == [number**2 for number in range(20)]
    assert set(Counter(end.pid for end in ends).values()) == {1}


def test_the_only_worker_finds_a_task_when_it_is_ready(waiting: Any, gate: Any) -> None:
    with ForkPool(1, ahead=1, max_tasks_per_child=1, initializer=gate.pass_through) as pool:
        gate.open()
        first = waiting.run(pool, os.getpid).value
        assert not pool.idle
        assert pool.room == 1
        pool.submit(os.getpid)  # while nobody is there
        gate.open(4)  # for it, and for those that are to follow
        assert waiting.ends(pool, 1)[0].value != first


def misbehave(number: int) -> int:
    match number % 11:
        case 3:
            die()
        case 5:
            os._exit(1)
        case 7:
            raise ValueError(number)
    return number


class _Tasks(RuleBasedStateMachine):
    """Whatever the parent does and whoever dies: each task ends once, or is taken back."""

    @initialize(workers=st.integers(1, 3), ahead=st.integers(0, 5))
    def start(self, workers: int, ahead: int) -> None:
        self.pool = ForkPool(workers, ahead=ahead)
        self.pool.start()
        self.submitted: list[int] = []
        self.over: list[int] = []

    @rule(number=st.integers(0, 100), large=st.booleans())
    def submit(self, number: int, large: bool) -> None:
        if not self.pool.room:
            with pytest.raises(PoolBusy):
                self.pool.submit(misbehave, number)
            return
        argument = number + (2**10_000 * 11 if large else 0)
        self.submitted.append(self.pool.submit(misbehave, argument).number)

    @rule()
    def take_back(self) -> None:
        self.over += [task.number for task in self.pool.take_back()]

    @rule(timeout=st.sampled_from([0, 0.001, 0.01]))
    def wait(self, timeout: float) -> None:
        self.note(self.pool.wait(timeout))

    @rule(which=st.integers(0, 2))
    def kill(self, which: int) -> None:
        if pids := [worker.pid for worker in self.pool._crew.workers if worker.ready]:
            os.kill(pids[which % len(pids)], signal.SIGKILL)

    @invariant()
    def the_books_are_right(self) -> None:
        if hasattr(self, "pool"):
            unseen = len(self.pool._ended)
            assert self.pool.busy + unseen == len(self.submitted) - len(self.over)

    def note(self, ends: list[Ended]) -> None:
        for end in ends:
            assert end.error or end.value == end.task.args[0]
        self.over += [end.task.number for end in ends]

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.note(Waiting().ends(self.pool, len(self.submitted) - len(self.over)))
            assert sorted(self.over) == self.submitted
            self.pool.kill()


def test_each_task_ends_once_or_is_taken_back() -> None:
    run_state_machine_as_test(
        _Tasks, settings=settings(max_examples=30, stateful_step_count=40, deadline=None)
    )


def test_tasks_begin_in_the_order_of_their_submission(waiting: Any) -> None:
    """Each is held back until the next one is to begin: then that is the one that begins."""
    gate = Gate()
    with ForkPool(3, ahead=6) as pool:
        waiting.idle(pool, 3)
        tasks = [pool.submit(gate.pass_through) for _ in range(9)]
        for begun in range(3, 10):
            waiting.until(lambda left=tasks[begun:]: [pool.wait(0), pool.waiting][1] == left)
            gate.open()
        gate.open(2)
    gate.close()
