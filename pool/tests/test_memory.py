"""The ceiling of a child's memory, and the replacement of those that have grown."""

import os
import resource
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forkpool import ForkPool, InlinePool, StartFailed, TaskRaised, explain_memory_error, starts
from forkpool import memory as memory_module
from forkpool.memory import memory_limit, resident

MEGABYTE = 1_000_000


def address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


@pytest.fixture
def ceiling() -> int:
    return address_space() + 300 * MEGABYTE


def send_back(value: Any) -> Any:
    return value


def allocate(size: int) -> int:
    return len(bytearray(size))


def fill_with_small_things() -> None:
    hoard = []
    while True:
        hoard.append([None] * 100)


def in_words(limit: int) -> str:
    return f"limited to {limit:,} bytes (RLIMIT_AS)"


@pytest.mark.parametrize(
    ("function", "args"), [(allocate, (900 * MEGABYTE,)), (fill_with_small_things, ())]
)
def test_a_task_that_wants_too_much_is_told_its_limit(
    waiting: Any, ceiling: int, function: Any, args: Any
) -> None:
    with ForkPool(1, memory_limit=ceiling) as pool:
        error = waiting.run(pool, function, *args).error
        assert isinstance(error, TaskRaised)
        assert isinstance(error.original, MemoryError)
        assert in_words(ceiling) in error.traceback
        (note,) = error.original.__notes__
        assert in_words(ceiling) in note
        assert waiting.run(pool, allocate, 50 * MEGABYTE).value == 50 * MEGABYTE
        assert [waiting.run(pool, os.getpid).value] == pool.pids


def test_the_limit_is_the_childs_alone(waiting: Any, ceiling: int) -> None:
    before = memory_limit()
    with ForkPool(1, memory_limit=ceiling) as pool:
        assert waiting.run(pool, memory_limit).value == ceiling
    assert memory_limit() == before


def test_a_limit_that_is_exceeded_from_the_start_is_a_failure_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starts, "_PAUSE", 0.001)
    with (
        ForkPool(1, memory_limit=MEGABYTE) as pool,
        pytest.raises(StartFailed, match=r"begins with [\d,]+ bytes, its limit is 1,000,000"),
    ):
        pool.wait(60)


@pytest.fixture
def limited(ceiling: int) -> Iterator[int]:
    """This process has a limit as well."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, before[1]))
    yield ceiling
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_the_explanation_is_given_once(limited: int) -> None:
    error = MemoryError()
    explain_memory_error(error)
    explain_memory_error(error)
    (note,) = error.__notes__
    assert in_words(limited) in note


def test_only_memory_errors_are_explained(limited: int) -> None:
    error = ValueError()
    explain_memory_error(error)
    assert not hasattr(error, "__notes__")


def test_the_explanation_lets_go_what_the_frames_held(limited: int) -> None:
    class Held:
        pass

    gone: list[str] = []

    def hold() -> None:
        held = Held()
        weakref.finalize(held, gone.append, "gone")
        raise MemoryError

    with pytest.raises(MemoryError) as raised:
        hold()
    assert gone == []
    explain_memory_error(raised.value)
    assert gone == ["gone"]
    assert limited


def test_without_a_limit_there_is_no_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_limit() is None
    error = MemoryError()
    explain_memory_error(error)
    monkeypatch.setattr(memory_module, "HAS_LIMITS", False)
    explain_memory_error(error)
    assert not hasattr(error, "__notes__")


def test_an_inline_task_is_told_the_limit_of_the_process(limited: int) -> None:
    with InlinePool() as pool:
        pool.submit(allocate, 900 * MEGABYTE)
        (ended,) = pool.wait(0)
        assert in_words(limited) in ended.error.traceback  # type: ignore[union-attr]


_hoard: list[bytes] = []


def hoard(size: int) -> int:
    _hoard.append(b"x" * size)
    return os.getpid()


def test_a_child_that_has_grown_is_replaced_between_tasks(waiting: Any) -> None:
    with ForkPool(1, max_memory_per_child=resident() + 100 * MEGABYTE) as pool:
        first = waiting.run(pool, hoard, MEGABYTE).value
        assert waiting.run(pool, hoard, 200 * MEGABYTE).value == first
        second = waiting.run(pool, hoard, MEGABYTE).value
        assert second != first
        assert waiting.run(pool, os.getpid).value == second


def raise_when_grown() -> None:
    hoard(200 * MEGABYTE)
    raise ValueError


def test_so_is_one_whose_task_failed(waiting: Any) -> None:
    with ForkPool(1, max_memory_per_child=resident() + 100 * MEGABYTE) as pool:
        waiting.idle(pool)
        pids = pool.pids
        assert isinstance(waiting.run(pool, raise_when_grown).error, TaskRaised)
        assert waiting.run(pool, os.getpid).value not in pids


def test_a_large_result_is_no_growth(waiting: Any) -> None:
    with ForkPool(1, max_memory_per_child=resident() + 100 * MEGABYTE) as pool:
        ended = waiting.run(pool, bytes, 200 * MEGABYTE)
        assert len(ended.value) == 200 * MEGABYTE
        assert waiting.run(pool, os.getpid).value == ended.pid


def test_memory_is_measured_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    here = resident()
    monkeypatch.setattr(memory_module, "_STATM", Path("/proc/of/another/system"))
    assert resident() >= here - MEGABYTE
    monkeypatch.setattr(sys, "platform", "darwin")
    assert resident() < here
