"""Soft limits: raised inside, once, and never after the block."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from forkpool import ForkPool, TaskRaised, TaskTimeout, limits, soft_time_limit
from forkpool.blocks import disarm

SOON = 0.02  # seconds
FOREVER = 100_000.0


@pytest.fixture(autouse=True)
def alarm() -> Iterator[list[int]]:
    """A handler that was there before; each test leaves it there, and no timer."""
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda signum, _: seen.append(signum))
    mine = signal.getsignal(signal.SIGALRM)
    yield seen
    assert signal.getsignal(signal.SIGALRM) is mine
    assert signal.setitimer(signal.ITIMER_REAL, 0) == (0, 0)
    signal.signal(signal.SIGALRM, before)


def spin() -> None:
    while True:
        pass


def spin_and_swallow() -> None:
    while True:
        with suppress(Exception):
            spin()


def match_for_ever() -> None:
    re.match("(a+)+$", "a" * 60 + "b")


def sleep() -> None:
    time.sleep(FOREVER)


@pytest.mark.parametrize("function", [spin, spin_and_swallow, match_for_ever, sleep])
def test_the_block_is_interrupted(function: Callable[[], None]) -> None:
    with pytest.raises(TaskTimeout, match=r"limit of 0\.02 s") as raised, soft_time_limit(SOON):
        function()
    assert raised.value.limit == SOON


def test_a_block_that_is_in_time_is_not_interrupted(alarm: list[int]) -> None:
    with soft_time_limit(FOREVER):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > FOREVER - 60
    assert alarm == []


def test_none_is_no_limit() -> None:
    with soft_time_limit(None):
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_another_thread_has_no_limit() -> None:
    timers: list[Any] = []

    def enter() -> None:
        with soft_time_limit(SOON):
            timers.append(signal.getitimer(signal.ITIMER_REAL))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert timers == [(0, 0)]


def test_a_platform_without_the_signal_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(signal, "setitimer")
        with soft_time_limit(SOON):
            pass


def test_a_timeout_that_is_swallowed_does_not_come_again() -> None:
    strikes = 0
    with soft_time_limit(SOON):
        with suppress(TaskTimeout):
            spin()
        strikes += 1
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert strikes == 1


def test_the_outer_limit_strikes_through_the_inner_one() -> None:
    with (
        pytest.raises(TaskTimeout) as raised,
        soft_time_limit(SOON),
        soft_time_limit(FOREVER),
    ):
        spin()
    assert raised.value.limit == SOON


def test_a_timer_that_ran_before_goes_on_after(alarm: list[int], waiting: Any) -> None:
    signal.setitimer(signal.ITIMER_REAL, SOON)
    with soft_time_limit(FOREVER):
        time.sleep(2 * SOON)
        assert alarm == []  # it is due, and waits
    waiting.until(lambda: alarm == [signal.SIGALRM])


def test_a_signal_from_elsewhere_is_no_timeout() -> None:
    with soft_time_limit(FOREVER):
        os.kill(os.getpid(), signal.SIGALRM)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > FOREVER - 60


def install_and_tell_nothing(signum: int, handler: Any) -> None:
    signal.signal(signum, handler)


def test_a_handler_that_python_did_not_install_becomes_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = signal.getsignal(signal.SIGALRM)
    with monkeypatch.context() as patch:
        patch.setattr("forkpool.limits.set_handler", install_and_tell_nothing)
        with soft_time_limit(FOREVER):
            pass
    assert signal.signal(signal.SIGALRM, mine) is signal.SIG_DFL


def test_a_block_that_was_never_left_can_be_disarmed() -> None:
    soft_time_limit(FOREVER).__enter__()
    disarm()
    disarm()


class Clock:
    """Stands for the module `time`: a limit is over when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_the_outer_limit_goes_on_after_the_inner_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    struck: list[float] = []
    try:
        with soft_time_limit(30):
            try:
                with soft_time_limit(10):
                    clock.now = 20
                    signal.raise_signal(signal.SIGALRM)
            except TaskTimeout as error:
                struck.append(error.limit)
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 10
            clock.now = 30
            signal.raise_signal(signal.SIGALRM)
    except TaskTimeout as error:
        struck.append(error.limit)
    assert struck == [10, 30]


def strike_at(step: int, clock: Clock, now: float, block: Callable[[], None]) -> bool:
    """Run a block, with the alarm at the n-th byte code of ours in it; whether it has so many."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_globals.get("__name__") not in ("forkpool.blocks", "forkpool.limits"):
            return None
        frame.f_trace_opcodes = True
        count += event == "opcode"
        if event == "opcode" and count == step:
            clock.now = now
            signal.raise_signal(signal.SIGALRM)
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # without it Python 3.12 traces none the first time
    clock.now = 0.0
    sys.settrace(trace)
    try:
        block()
    finally:
        sys.settrace(before)
    return count >= step


@pytest.mark.parametrize("now", [20.0, 40.0])
def test_a_strike_at_any_byte_code_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, now: float
) -> None:
    """Of two nested limits the inner one is over, or both are."""
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    mine = signal.getsignal(signal.SIGALRM)
    struck: list[float] = []

    def block() -> None:
        try:
            with soft_time_limit(30):
                try:
                    with soft_time_limit(10):
                        pass
                except TaskTimeout as error:
                    struck.append(error.limit)
        except TaskTimeout as error:
            struck.append(error.limit)

    step = 1
    while strike_at(step, clock, now, block):
        assert signal.getsignal(signal.SIGALRM) is mine, step
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0), step
        assert len(struck) <= 1, step
        struck.clear()
        step += 1
    assert step > 200


def swallow_everything() -> str:
    with suppress(BaseException):
        spin()
    return "went on"


def test_a_task_is_interrupted_in_its_process(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(spin_and_swallow, soft_time_limit=SOON)
        (ended,) = waiting.ends(pool, 1)
        assert isinstance(ended.error, TaskRaised)
        assert isinstance(ended.error.original, TaskTimeout)
        assert ended.error.original.limit == SOON
        assert "in spin" in ended.error.traceback
        pool.submit(swallow_everything, soft_time_limit=SOON)
        (ended,) = waiting.ends(pool, 1)
        assert ended.value == "went on"
        assert waiting.run(pool, signal.getitimer, signal.ITIMER_REAL).value == (0, 0)
        assert [waiting.run(pool, os.getpid).value] == pool.pids


def enter_and_stay() -> None:
    soft_time_limit(FOREVER).__enter__()


def test_a_limit_does_not_outlive_its_task(waiting: Any) -> None:
    with ForkPool(1) as pool:
        assert waiting.run(pool, enter_and_stay).error is None
        assert waiting.run(pool, signal.getitimer, signal.ITIMER_REAL).value == (0, 0)


def limited_pool() -> Any:
    """A pool inside of a limited block: its child has no part in the limit."""
    with ForkPool(1) as pool:
        while not pool.idle:
            pool.wait(60)
        pool.submit(limit_oneself)
        ended = pool.wait(60)
    return ended[0].value


def limit_oneself() -> str:
    with suppress(TaskTimeout), soft_time_limit(SOON):
        spin()
    return "struck"


def test_the_limit_of_the_parent_is_not_the_childs() -> None:
    with soft_time_limit(FOREVER):
        assert limited_pool() == "struck"
