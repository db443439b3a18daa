"""What tasks show, as the parent sees it: at once, whole, and in no other task's name."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forkpool import ForkPool, InlinePool, NotPicklable, Running, WorkerDied, show
from forkpool.board import Slot

FOREVER = 100_000.0  # seconds


def show_and_wait(gate: Any, *values: Any) -> None:
    for value in values:
        show(value)
    gate.pass_through()


def shown(pool: Any) -> list[Any]:
    return [running.shown for running in pool.running()]


def test_the_parent_sees_what_runs_since_when_and_what_it_shows(waiting: Any, gate: Any) -> None:
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        before = time.monotonic()
        tasks = [pool.submit(show_and_wait, gate, {"done": number}) for number in (1, 2)]
        waiting.until(lambda: shown(pool) == [{"done": 1}, {"done": 2}])
        running = pool.running()
        after = time.monotonic()
        assert [one.task for one in running] == tasks
        assert {one.pid for one in running} == set(pool.pids)
        assert all(before <= one.since <= after for one in running)
        gate.open(2)
        waiting.ends(pool, 2)
        assert pool.running() == []


def test_it_is_seen_though_the_parent_hears_nothing(waiting: Any, gate: Any) -> None:
    """And nobody wakes it."""
    with ForkPool(1) as pool:
        waiting.idle(pool)
        task = pool.submit(show_and_wait, gate, *range(5))
        waiting.until(lambda: shown(pool) == [4])
        assert pool._watch.look(0) == []
        (pid,) = pool.pids
        assert pool.running() == [Running(task, pid, pool._crew.workers[0].since, 4)]
        gate.open()
        waiting.ends(pool, 1)


def test_the_next_task_begins_with_nothing(waiting: Any, gate: Any) -> None:
    with ForkPool(1) as pool:
        waiting.run(pool, show, "of the first one")
        pool.submit(gate.pass_through)
        waiting.until(pool.running)
        assert shown(pool) == [None]
        gate.open()
        waiting.ends(pool, 1)


def show_and_die(note: str) -> None:
    show("last words")
    Path(note).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_dead_worker_has_shown_goes_with_it(waiting: Any, gate: Any, tmp_path: Path) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        (pid,) = pool.pids
        task = pool.submit(show_and_die, str(tmp_path / "note"))
        waiting.gone(pid)
        assert pool.running() == [Running(task, pid, pool._crew.workers[0].since, "last words")]
        (ended,) = waiting.ends(pool, 1)
        assert isinstance(ended.error, WorkerDied)
        assert pool.running() == []
        waiting.idle(pool)
        pool.submit(gate.pass_through)
        waiting.until(pool.running)
        assert shown(pool) == [None]
        gate.open()
        waiting.ends(pool, 1)


def show_in_a_copy(note: str, gate: Any) -> None:
    show("the task")
    pid = os.fork()
    if pid == 0:
        show("a copy")
        os._exit(0)
    os.waitpid(pid, 0)
    Path(note).touch()
    gate.pass_through()


def test_a_process_that_a_task_forked_shows_nothing(
    waiting: Any, gate: Any, tmp_path: Path
) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(show_in_a_copy, str(tmp_path / "note"), gate)
        waiting.until((tmp_path / "note").exists)
        assert shown(pool) == ["the task"]
        gate.open()
        waiting.ends(pool, 1)


def show_all(gate: Any) -> None:
    gate.pass_through()
    for number in range(20_000):
        show([number] * (number % 90))
    show("done")
    gate.pass_through()


def test_a_value_is_read_whole_while_it_is_written(waiting: Any, gate: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(show_all, gate)
        gate.open()
        seen: list[Any] = []

        def is_done() -> bool:
            seen.extend(shown(pool))
            return seen[-1:] == ["done"]

        waiting.until(is_done)
        values = [value for value in seen if value and value != "done"]
        assert len({value[0] for value in values}) > 1
        assert all(value == [value[0]] * (value[0] % 90) for value in values)
        numbers = [value[0] for value in values]
        assert numbers == sorted(numbers)
        gate.open()
        waiting.ends(pool, 1)


def show_from_all_threads(count: int, gate: Any) -> None:
    def show_some() -> None:
        for number in range(500):
            show((number, bytes(900)))

    threads = [threading.Thread(target=show_some) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    show_and_wait(gate, "last")


def test_threads_may_show_things(waiting: Any, gate: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(show_from_all_threads, 4, gate)
        waiting.until(lambda: shown(pool) == ["last"])
        gate.open()
        waiting.ends(pool, 1)


class OnlyHere:
    def __init__(self, pid: int) -> None:
        if pid != os.getpid():
            raise SystemExit("not here")
        self.pid = pid

    def __reduce__(self) -> tuple[Any, ...]:
        return OnlyHere, (self.pid,)


def show_what_exists_here_only(gate: Any) -> None:
    show_and_wait(gate, OnlyHere(os.getpid()))


def test_a_value_that_cannot_be_rebuilt_harms_nobody(waiting: Any, gate: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(show_what_exists_here_only, gate)
        waiting.until(lambda: any(shown(pool)))
        (error,) = shown(pool)
        assert isinstance(error, NotPicklable)
        assert "not here" in str(error)
        gate.open()
        waiting.ends(pool, 1)


def test_a_large_value_is_refused() -> None:
    show(bytes(950))
    with pytest.raises(ValueError, match=r"at most 1,000 bytes, not 1,0\d\d"):
        show(bytes(1000))


def test_a_value_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(NotPicklable):
        show(letter for letter in "abc")


def test_an_inline_task_shows_what_it_likes() -> None:
    seen: list[Running] = []

    def task() -> None:
        show("first")
        show("second")
        seen.extend(pool.running())

    with InlinePool() as pool:
        handed_out = pool.submit(task)
        assert pool.running() == []
        show("not in a task")
        pool.wait(0)
        pool.submit(lambda: seen.extend(pool.running()))
    assert [(one.task.number, one.pid, one.shown) for one in seen] == [
        (1, os.getpid(), "second"),
        (2, os.getpid(), None),
    ]
    assert seen[0].task == handed_out


@pytest.fixture
def slot() -> Iterator[Slot]:
    slot = Slot()
    yield slot
    slot.close()


def test_the_largest_value_fits(slot: Slot) -> None:
    for number, letter in ((1, b"a"), (2, b"b"), (3, b"c")):
        slot.write(number, letter * 1000)
    assert slot.read(3) == b"c" * 1000
    assert slot.read(2) == b"b" * 1000  # the other cell


@pytest.mark.parametrize("byte", range(44))
def test_a_value_that_is_half_written_is_not_read(slot: Slot, byte: int) -> None:
    """Its writer was killed or stopped at that byte: the one before is still there."""
    slot.write(7, b"the first value, whole")
    slot.write(7, b"the second value")
    first = bytes(slot._memory)
    slot.write(7, b"another value")
    now = bytes(slot._memory)
    changed = [place for place in range(len(now)) if first[place] != now[place]]
    slot._memory[:] = first
    start = changed[0]
    slot._memory[start : start + byte] = now[start : start + byte]
    torn = bytes(slot._memory)
    assert slot.read(7) == (b"another value" if torn == now else b"the second value")


def test_a_first_value_that_is_half_written_is_none(slot: Slot) -> None:
    slot.write(7, b"a value")
    slot._memory[slot._memory.find(b"value")] = 0
    assert slot.read(7) is None


def test_the_count_of_what_is_shown_goes_on_and_on(slot: Slot) -> None:
    for number in range(1000):
        slot.write(1 + number // 100, str(number).encode())
    assert slot.read(10) == b"999"
    assert slot.read(9) is None
