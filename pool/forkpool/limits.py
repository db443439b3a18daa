"""A limit on the time that a block of code takes, kept by a timer of the same process."""

import signal
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from forkpool.blocks import Block, strike
from forkpool.errors import TaskTimeout
from forkpool.signals import set_handler

_AT_ONCE = 1e-6  # seconds: the shortest time that a timer knows, since 0 turns it off


def soft_time_limit(seconds: float | None) -> AbstractContextManager[object]:
    """Raise TaskTimeout in the block after so many seconds; never after the block, and once.

    The timer is SIGALRM's: it interrupts Python code and what waits in the kernel, but no loop in
    an extension module that does not look for signals. A handler or a timer for SIGALRM that was
    set before is put back afterwards; a block that sets its own has no limit any more. When a
    limit strikes, those that are nested in it end with it.

    None is no limit. Where there is no SIGALRM (on Windows), and outside of the main thread, which
    alone can receive signals, the block has no limit either.
    """
    if seconds is None or not hasattr(signal, "setitimer"):
        return nullcontext()
    main = threading.current_thread() is threading.main_thread()
    return _Limit(seconds) if main else nullcontext()


def forget() -> None:
    """Drop the alarm of the process that this one was forked from."""
    _alarm.forget()


class _Limit(Block):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = 0.0

    def __enter__(self) -> None:
        self.deadline = time.monotonic() + self.seconds
        super().__enter__()

    def blow(self) -> BaseException | None:
        return TaskTimeout(self.seconds) if self.deadline <= time.monotonic() else None

    @classmethod
    def fit(cls, blocks: Sequence[Self]) -> None:
        if blocks:
            _alarm.set(min(limit.deadline for limit in blocks))
        else:
            _alarm.give_back()


class _Alarm:
    """The process's one timer, which the limits share."""

    def __init__(self) -> None:
        self._before: tuple[Any, float, float] | None = None  # handler, due time, interval

    def set(self, deadline: float) -> None:
        if self._before is None:
            self._take_over()
        signal.setitimer(signal.ITIMER_REAL, max(deadline - time.monotonic(), _AT_ONCE))

    def _take_over(self) -> None:
        delay, interval = signal.setitimer(signal.ITIMER_REAL, 0)
        due = delay and time.monotonic() + delay
        self._before = set_handler(signal.SIGALRM, strike), due, interval

    def give_back(self) -> None:
        if self._before is None:
            return
        handler, due, interval = self._before
        self._before = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None stands for a handler that was not installed from Python: it cannot return. A signal
        # that arrived just now still goes to our handler, which finds no limit that it is for.
        set_handler(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if due:
            left = max(due - time.monotonic(), _AT_ONCE)
            signal.setitimer(signal.ITIMER_REAL, left, interval)

    def forget(self) -> None:
        self._before = None


_alarm = _Alarm()
