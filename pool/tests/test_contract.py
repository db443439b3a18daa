"""What both pools promise."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from forkpool import (
    Ended,
    ForkPool,
    InlinePool,
    NotRunning,
    Pool,
    PoolBusy,
    Task,
    TaskRaised,
    TaskTimeout,
    interruptible,
    show,
    soft_time_limit,
    tell_parent,
)

Make = Callable[..., Pool]


@pytest.fixture(params=["fork", "inline"])
def make(request: pytest.FixtureRequest) -> Make:
    def fork(**options: Any) -> Pool:
        return ForkPool(1, **options)

    return fork if request.param == "fork" else InlinePool


@pytest.fixture
def pool(make: Make) -> Iterator[Pool]:
    with make() as pool:
        yield pool


def add(*numbers: int) -> int:
    return sum(numbers)


def fail(error: BaseException) -> None:
    raise error


class UglyError(Exception):
    def __repr__(self) -> str:
        raise ValueError("no words")

    __str__ = __repr__


def fail_in_an_ugly_way() -> None:
    raise UglyError


def test_a_task_ends_with_its_value(pool: Pool, waiting: Any) -> None:
    ended = waiting.run(pool, add, 1, 2, 3)
    assert ended.value == 6
    assert ended.error is None
    assert ended.task == Task(1, add, (1, 2, 3))
    assert [ended.pid] == pool.pids


def test_a_task_may_return_nothing(pool: Pool, waiting: Any) -> None:
    ended = waiting.run(pool, time.sleep, 0)
    assert (ended.value, ended.error) == (None, None)


def test_hand_outs_are_numbered_in_their_order(pool: Pool, waiting: Any) -> None:
    ends = [waiting.run(pool, add, n) for n in range(5)]
    assert [(end.task.number, end.value) for end in ends] == [(n + 1, n) for n in range(5)]


def test_a_busy_pool_takes_nothing(pool: Pool, waiting: Any) -> None:
    waiting.idle(pool)
    assert (pool.idle, pool.room, pool.busy) == (1, 1, 0)
    pool.submit(add, 1)
    assert (pool.idle, pool.room, pool.busy) == (0, 0, 1)
    with pytest.raises(PoolBusy, match="no room for a task"):
        pool.submit(add, 2)
    (ended,) = waiting.ends(pool, 1)
    assert ended.value == 1
    assert (pool.idle, pool.busy) == (1, 0)


def test_an_end_is_told_once(pool: Pool, waiting: Any) -> None:
    waiting.run(pool, add, 1)
    assert pool.wait(0) == []


def test_an_exception_comes_with_its_traceback(pool: Pool, waiting: Any) -> None:
    error = waiting.run(pool, fail, ValueError("no such thing")).error
    assert isinstance(error, TaskRaised)
    assert str(error) == error.exception == "ValueError('no such thing')"
    assert isinstance(error.original, ValueError)
    assert "in fail" in error.traceback
    assert error.traceback.endswith("ValueError: no such thing\n")
    assert "forkpool" not in error.traceback


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_no_exception_ends_the_worker(pool: Pool, waiting: Any, kind: type) -> None:
    error = waiting.run(pool, fail, kind()).error
    assert isinstance(error, TaskRaised)
    assert error.exception == f"{kind.__name__}()"
    assert [waiting.run(pool, os.getpid).value] == pool.pids


def test_an_exception_without_a_repr_is_reported(pool: Pool, waiting: Any) -> None:
    error = waiting.run(pool, fail_in_an_ugly_way).error
    assert isinstance(error, TaskRaised)
    assert str(error) == "<UglyError, whose repr() raises>"
    assert "fail_in_an_ugly_way" in error.traceback


def run_limited(pool: Pool, waiting: Any, function: Callable[..., Any], **limits: float) -> Ended:
    waiting.idle(pool)
    task = pool.submit(function, **limits)
    assert {"time_limit": task.time_limit, "soft_time_limit": task.soft_time_limit} == {
        "time_limit": None,
        "soft_time_limit": None,
        **limits,
    }
    (ended,) = waiting.ends(pool, 1)
    assert ended.task == task
    return cast("Ended", ended)


def spin() -> None:
    while True:
        try:
            while True:
                pass
        except Exception:
            pass


def swallow() -> str:
    try:
        spin()
    except BaseException:
        pass
    return "swallowed"


def test_a_soft_limit_is_raised_in_the_task(pool: Pool, waiting: Any) -> None:
    error = run_limited(pool, waiting, spin, soft_time_limit=0.02).error
    assert isinstance(error, TaskRaised)
    assert isinstance(error.original, TaskTimeout)
    assert error.original.limit == 0.02
    assert "in spin" in error.traceback
    assert waiting.run(pool, signal.getitimer, signal.ITIMER_REAL).value == (0, 0)
    assert [waiting.run(pool, os.getpid).value] == pool.pids


def test_a_soft_limit_that_is_swallowed_is_over(pool: Pool, waiting: Any) -> None:
    ended = run_limited(pool, waiting, swallow, soft_time_limit=0.02)
    assert ended.value == "swallowed"
    assert waiting.run(pool, add, 1).value == 1


def test_a_task_that_is_in_time_ends_with_its_value(pool: Pool, waiting: Any) -> None:
    ended = run_limited(pool, waiting, os.getpid, soft_time_limit=60.0, time_limit=60.0)
    assert [ended.value] == pool.pids
    assert waiting.run(pool, signal.getitimer, signal.ITIMER_REAL).value == (0, 0)


def limit_a_part() -> str:
    try:
        with soft_time_limit(0.02):
            spin()
    except TaskTimeout as error:
        return str(error)
    return "not reached"


def test_a_task_may_limit_a_part_of_itself(pool: Pool, waiting: Any) -> None:
    ended = run_limited(pool, waiting, limit_a_part, soft_time_limit=60.0)
    assert ended.value == "the task took longer than its soft time limit of 0.02 s"


@pytest.mark.parametrize("limit", ["time_limit", "soft_time_limit"])
def test_a_limit_of_nothing_is_refused(pool: Pool, waiting: Any, limit: str) -> None:
    waiting.idle(pool)
    with pytest.raises(ValueError, match="more than nothing"):
        pool.submit(add, 1, **{limit: 0})
    assert waiting.run(pool, add, 1).task.number == 1


def test_a_task_may_tell_whoever_listens(pool: Pool, waiting: Any) -> None:
    assert waiting.run(pool, tell_parent, "a note").error is None
    assert waiting.run(pool, add, 1).value == 1


def test_a_task_may_show_something_to_whoever_looks(pool: Pool, waiting: Any) -> None:
    assert waiting.run(pool, show, {"done": 1}).error is None
    assert pool.running() == []


def show_a_large_thing() -> None:
    show(bytes(2000))


def test_a_large_thing_is_not_shown(pool: Pool, waiting: Any) -> None:
    error = waiting.run(pool, show_a_large_thing).error
    assert isinstance(error, TaskRaised)
    assert isinstance(error.original, ValueError)


def run_interruptibly() -> str:
    with interruptible():
        return "ended"


def test_a_task_that_nobody_interrupts_runs_as_ever(pool: Pool, waiting: Any) -> None:
    assert waiting.run(pool, run_interruptibly).value == "ended"


def test_what_nobody_holds_is_not_interrupted(make: Make, waiting: Any) -> None:
    pool = make()
    assert (pool.interrupt(1), pool.running()) == (False, [])
    with pool:
        number = waiting.run(pool, add, 1).task.number
        assert not pool.interrupt(number)
        assert not pool.interrupt(number + 1)
    assert (pool.interrupt(number), pool.running()) == (False, [])


def test_wait_returns_at_its_timeout(pool: Pool, waiting: Any) -> None:
    waiting.idle(pool)
    before = time.monotonic()
    assert pool.wait(0.05) == []
    assert time.monotonic() - before >= 0.05


def test_wait_returns_for_the_wakeup_and_does_not_drain_it(make: Make, waiting: Any) -> None:
    reader, writer = os.pipe()
    try:
        with make(wakeup=reader) as pool:
            waiting.idle(pool)
            os.write(writer, b".")
            assert pool.wait(None) == []
            assert os.read(reader, 2) == b"."
            assert waiting.run(pool, add, 4).value == 4
    finally:
        os.close(reader)
        os.close(writer)


def test_wait_returns_for_a_wakeup_of_the_call(
    pool: Pool, waiting: Any, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    waiting.idle(pool)
    os.write(writer, b".")
    assert pool.wait(None, wakeups=[reader, reader]) == []
    assert os.read(reader, 2) == b"."  # nobody drained it


def test_a_wakeup_may_be_the_pools_own_as_well(
    make: Make, waiting: Any, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    with make(wakeup=reader) as pool:
        waiting.idle(pool)
        os.write(writer, b".")
        for _ in range(2):
            assert pool.wait(None, wakeups=[reader]) == []
            assert pool.wait(None) == []


def test_a_wakeup_is_watched_in_its_call_only(
    pool: Pool, waiting: Any, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    waiting.idle(pool)
    os.write(writer, b".")
    assert pool.wait(None, wakeups=[reader]) == []
    before = time.monotonic()
    assert pool.wait(0.05) == []
    assert time.monotonic() - before >= 0.05


def test_a_wakeup_may_be_closed_after_its_call(
    pool: Pool, waiting: Any, pipe: tuple[int, int]
) -> None:
    """Its number then belongs to somebody else."""
    reader, _ = pipe
    waiting.idle(pool)
    assert pool.wait(0, wakeups=[reader]) == []
    os.close(reader)
    other = os.eventfd(1)
    try:
        assert other == reader
        assert pool.wait(None, wakeups=[other]) == []
        assert waiting.run(pool, add, 1).value == 1
    finally:
        os.close(other)
    assert pool.wait(0) == []


def test_an_end_is_told_though_a_wakeup_is_readable(
    pool: Pool, waiting: Any, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    os.write(writer, b".")
    waiting.idle(pool)
    pool.submit(add, 1)
    (ended,) = waiting.ends(pool, 1, wakeups=[reader])
    assert ended.value == 1


@pytest.mark.parametrize(("bad", "kind"), [(-1, ValueError), (987_654, OSError)])
def test_a_wakeup_that_is_no_descriptor_is_refused(
    pool: Pool, waiting: Any, pipe: tuple[int, int], bad: int, kind: type[Exception]
) -> None:
    """The good ones beside it are forgotten too."""
    reader, writer = pipe
    os.write(writer, b".")
    waiting.idle(pool)
    with pytest.raises(kind):
        pool.wait(None, wakeups=[bad, reader])
    before = time.monotonic()
    assert pool.wait(0.05) == []
    assert time.monotonic() - before >= 0.05


def test_nothing_goes_before_the_start(make: Make) -> None:
    pool = make()
    assert (pool.idle, pool.busy, pool.pids) == (0, 0, [])
    with pytest.raises(NotRunning):
        pool.submit(add, 1)
    with pytest.raises(NotRunning):
        pool.wait(0)
    assert pool.shutdown() == []


@pytest.mark.parametrize("end", ["shutdown", "kill"])
def test_nothing_goes_after_the_end(pool: Pool, waiting: Any, end: str) -> None:
    waiting.run(pool, add, 1)
    assert getattr(pool, end)() == []
    assert (pool.idle, pool.busy, pool.pids) == (0, 0, [])
    with pytest.raises(NotRunning):
        pool.submit(add, 1)
    with pytest.raises(NotRunning):
        pool.wait(0)
    assert pool.shutdown() == pool.kill() == []


def test_the_second_start_changes_nothing(pool: Pool, waiting: Any) -> None:
    pids = pool.pids
    pool.start()
    assert pool.pids == pids
    assert waiting.run(pool, add, 1).value == 1


def test_shutdown_returns_what_was_not_collected(pool: Pool, waiting: Any) -> None:
    waiting.idle(pool)
    task = pool.submit(add, 20, 22)
    (ended,) = pool.shutdown()
    assert (ended.task, ended.value) == (task, 42)


def test_an_exception_passes_through_the_context(make: Make) -> None:
    with pytest.raises(LookupError), make() as pool:
        raise LookupError
    with pytest.raises(NotRunning):
        pool.wait(0)


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """As a program, in which pickle finds the functions that it defines."""
    program = ModuleType("program")
    monkeypatch.setitem(sys.modules, "program", program)

    def run_example(number: int) -> None:
        readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
        exec(readme.split("```python\n")[number].split("```")[0], vars(program))

    return run_example


def test_the_first_example_of_the_readme_runs(
    run_example: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_example(1)
    values = [int(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert sorted(values) == [number**2 for number in range(1000)]


def test_the_second_example_of_the_readme_runs(
    run_example: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_example(2)
    total, *values = [int(line) for line in capsys.readouterr().out.splitlines()]
    assert total == 100
    assert sorted(values) == [number**2 for number in range(10)]


def test_the_third_example_of_the_readme_runs(
    run_example: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_example(3)
    first, second = capsys.readouterr().out.splitlines()
    pid, done, interrupted = first.split()
    assert (int(pid) > 0, int(done) >= 0, interrupted) == (True, True, "True")
    assert second == "TaskInterrupted()"
