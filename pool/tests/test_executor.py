"""The executor, over both pools: what users of `concurrent.futures` expect, without threads."""

import concurrent.futures
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forkpool import (
    ForkExecutor,
    ForkPool,
    InlinePool,
    NotPicklable,
    Pool,
    StartFailed,
    TaskRaised,
    TaskTimeout,
    TimeLimitExceeded,
    WorkerDied,
    as_completed,
    starts,
)

SOON = 0.05  # seconds
FOREVER = 100_000.0


@contextmanager
def executor_over(pool: Pool) -> Iterator[ForkExecutor]:
    """One that does not wait for what runs when a test fails."""
    with pool, ForkExecutor(pool) as executor:
        try:
            yield executor
        except BaseException:
            pool.kill()
            raise


@pytest.fixture(params=[partial(ForkPool, 2), InlinePool], ids=["fork", "inline"])
def executor(request: pytest.FixtureRequest) -> Iterator[ForkExecutor]:
    with executor_over(request.param()) as executor:
        yield executor


@pytest.fixture
def single(gate: Any) -> Iterator[ForkExecutor]:
    """One worker, which knows the gate."""
    with executor_over(ForkPool(1)) as executor:
        yield executor


@pytest.fixture
def double(gate: Any) -> Iterator[ForkExecutor]:
    """Two of them."""
    with executor_over(ForkPool(2)) as executor:
        yield executor


def power(base: int, exponent: int = 2) -> int:
    return int(base**exponent)


def fail(number: int) -> None:
    raise ValueError(number)


class BadlyPickledError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail_badly() -> None:
    raise BadlyPickledError(1, 2)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_future_leads_to_the_value(executor: ForkExecutor) -> None:
    future = executor.submit(power, 3, exponent=3)
    assert isinstance(future, Future)
    assert future.result() == 27
    assert future.exception() is None
    assert future.done()
    assert not future.running()


def test_map_keeps_the_order(executor: ForkExecutor) -> None:
    assert list(executor.map(power, range(50), [2] * 50)) == [n**2 for n in range(50)]


def test_there_may_be_more_calls_than_workers(executor: ForkExecutor) -> None:
    futures = [executor.submit(power, number) for number in range(20)]
    assert [future.result() for future in reversed(futures)] == [n**2 for n in range(19, -1, -1)]


def test_waiting_calls_are_handed_out_in_their_order(single: ForkExecutor) -> None:
    moments = [future.result() for future in [single.submit(time.monotonic) for _ in range(20)]]
    assert moments == sorted(moments)


def test_the_exception_is_raised_again_and_its_cause_shows_the_worker(
    executor: ForkExecutor,
) -> None:
    future = executor.submit(fail, 7)
    with pytest.raises(ValueError, match=r"^7$") as raised:
        future.result()
    cause = raised.value.__cause__
    assert isinstance(cause, TaskRaised)
    assert "in fail" in cause.traceback
    assert cause.__notes__ == [cause.traceback]
    assert future.exception() is raised.value


def test_an_exception_that_cannot_be_pickled_is_told_in_words(single: ForkExecutor) -> None:
    error = single.submit(fail_badly).exception()
    assert isinstance(error, TaskRaised)
    assert "in fail_badly" in "".join(error.__notes__)


def test_a_death_fails_one_future(single: ForkExecutor) -> None:
    dead, alive = single.submit(die), single.submit(power, 2)
    assert alive.result() == 4
    with pytest.raises(WorkerDied, match="SIGKILL"):
        dead.result()


def test_a_worker_that_died_idle_loses_no_call(single: ForkExecutor, waiting: Any) -> None:
    pid = single.submit(os.getpid).result()
    os.kill(pid, signal.SIGKILL)
    waiting.gone(pid)
    assert single.submit(os.getpid).result() != pid


def test_what_cannot_be_sent_fails_its_future(single: ForkExecutor) -> None:
    assert isinstance(single.submit(list, (i for i in "a")).exception(), NotPicklable)
    assert single.submit(power, 2).result() == 4


def test_a_timeout_is_none_of_the_call(single: ForkExecutor, waiting: Any, gate: Any) -> None:
    future = single.submit(gate.pass_through)
    with pytest.raises(TimeoutError):
        future.result(timeout=SOON)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0)
    assert not future.done()
    waiting.until(future.running)
    gate.open()
    assert future.result(timeout=60) != os.getpid()


def test_a_waiting_call_can_be_cancelled_and_a_running_one_cannot(
    single: ForkExecutor, waiting: Any, gate: Any
) -> None:
    running = single.submit(gate.pass_through)
    waiting.until(running.running)
    cancelled, last = single.submit(die), single.submit(power, 5)
    assert cancelled.cancel()
    assert not running.cancel()
    assert cancelled.cancelled()
    assert cancelled.done()
    gate.open()
    assert last.result() == 25
    assert isinstance(running.result(), int)
    with pytest.raises(CancelledError):
        cancelled.result()
    # Nothing is left to be driven: now the standard library's function will do.
    assert concurrent.futures.wait([running, cancelled, last]).not_done == set()


def test_futures_come_as_they_are_completed(double: ForkExecutor, gate: Any) -> None:
    slow = double.submit(gate.pass_through)
    fast = [double.submit(power, number) for number in range(5)]
    ended = as_completed([slow, *fast, slow])
    assert [next(ended) for _ in fast] == fast
    gate.open()
    assert list(ended) == [slow]
    assert set(as_completed([slow, *fast])) == {slow, *fast}
    assert list(as_completed([])) == []


def test_as_completed_has_a_timeout(double: ForkExecutor, gate: Any) -> None:
    slow, fast = double.submit(gate.pass_through), double.submit(power, 2)
    assert fast.result() == 4
    ended = as_completed([slow, fast], timeout=SOON)
    assert next(ended) is fast
    with pytest.raises(TimeoutError, match="1 of 2 futures"):
        next(ended)
    gate.open()


def test_as_completed_takes_futures_of_one_executor(
    executor: ForkExecutor, single: ForkExecutor
) -> None:
    other: Future[int] = Future()
    for futures in ([executor.submit(power, 1), single.submit(power, 1)], [other]):
        with pytest.raises(ValueError, match="one ForkExecutor"):
            next(as_completed(futures))


def test_a_callback_may_ask_for_other_futures(executor: ForkExecutor) -> None:
    """It is called amid the look that brought the ends of both."""
    found: list[int] = []
    futures = [executor.submit(power, number) for number in range(4)]
    for future in futures:
        future.add_done_callback(lambda _: found.append(sum(f.result() for f in futures)))
    assert futures[0].result() == 0
    assert found[0] == 0 + 1 + 4 + 9


def test_a_callback_may_submit(executor: ForkExecutor) -> None:
    more: list[Future[int]] = []
    future = executor.submit(power, 2)
    future.add_done_callback(lambda done: more.append(executor.submit(power, done.result())))
    assert future.result() == 4
    assert more[0].result() == 16


def test_shutdown_waits_for_all_calls(executor: ForkExecutor) -> None:
    futures = [executor.submit(power, number) for number in range(10)]
    executor.shutdown()
    assert [future.result() for future in futures] == [n**2 for n in range(10)]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(power, 1)
    executor.shutdown()


def test_shutdown_can_cancel_what_waits(single: ForkExecutor, waiting: Any, gate: Any) -> None:
    running = single.submit(gate.pass_through)
    waiting.until(running.running)
    others = [single.submit(die) for _ in range(3)]
    gate.open()
    single.shutdown(cancel_futures=True)
    assert isinstance(running.result(), int)
    assert all(future.cancelled() for future in others)


def test_shutdown_without_waiting_ends_the_pool_with_the_last_result(gate: Any) -> None:
    pool = ForkPool(1)
    executor = ForkExecutor(pool)
    futures = [executor.submit(gate.pass_through) for _ in range(2)]
    executor.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    gate.open(2)
    assert {future.result() for future in futures} != {None}
    assert pool.pids == []


def test_an_interrupted_shutdown_kills(waiting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ForkPool(1)
    executor = ForkExecutor(pool)
    running = executor.submit(time.sleep, FOREVER)
    waiting.until(lambda: running.running() and bool(pool.running()))
    other = executor.submit(power, 1)
    interrupt_shutdown(executor, monkeypatch)
    assert pool.pids == []
    assert other.cancelled()
    with pytest.raises(WorkerDied):
        running.result()


def test_an_interrupted_shutdown_cancels_what_nobody_has_begun(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ForkPool(1)
    executor = ForkExecutor(pool)
    assert executor.submit(power, 3).result() == 9
    waiting.stopped(pool.pids[0])
    laid_down = executor.submit(power, 2)
    assert laid_down.running()
    interrupt_shutdown(executor, monkeypatch)
    with pytest.raises(CancelledError):
        laid_down.result()


def interrupt_shutdown(executor: ForkExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(timeout: float | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(executor._pool, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        executor.shutdown()


def fail_to_start(note: Path) -> None:
    if note.exists():
        raise ValueError("no more")


def test_workers_that_cannot_start_fail_what_waits_and_not_what_runs(
    monkeypatch: pytest.MonkeyPatch, waiting: Any, gate: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(starts, "_PAUSE", 0.001)
    note = tmp_path / "broken"
    pool = ForkPool(2, initializer=partial(fail_to_start, note))
    executor = ForkExecutor(pool)
    running = executor.submit(gate.pass_through)
    waiting.until(lambda: running.running() and pool.idle == 1)
    note.touch()
    dead, cancelled, lost = [executor.submit(die) for _ in range(3)]
    assert cancelled.cancel()
    assert isinstance(dead.exception(), WorkerDied)
    assert isinstance(lost.exception(), StartFailed)
    assert cancelled.cancelled()
    assert not running.done()
    gate.open()
    assert isinstance(running.result(), int)
    with pytest.raises(StartFailed, match="no more"):
        executor.submit(power, 1)
    executor.shutdown()


def spin() -> None:
    while True:
        pass


@pytest.mark.parametrize("make", [partial(ForkPool, 1), InlinePool], ids=["fork", "inline"])
def test_calls_have_a_soft_limit(make: Callable[[], Pool]) -> None:
    with ForkExecutor(make(), soft_time_limit=SOON) as executor:
        error = executor.submit(spin).exception()
        assert isinstance(error, TaskTimeout)


def test_calls_have_a_limit() -> None:
    with ForkExecutor(ForkPool(1), time_limit=SOON) as executor, pytest.raises(TimeLimitExceeded):
        executor.submit(spin).result()
