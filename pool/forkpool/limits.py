"""A limit on the time that a block of code takes, kept by a timer of the same process."""

import signal
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Any

from forkpool.errors import TaskTimeout

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
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, "setitimer"):
        return nullcontext()
    return _Limit(seconds)


def disarm() -> None:
    """Take back the limits of blocks that were entered and never left."""
    _alarm.disarm()


def forget() -> None:
    """Drop the limits of the process that this one was forked from."""
    _alarm.forget()


class _Limit:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = 0.0

    def __enter__(self) -> None:
        self.deadline = time.monotonic() + self.seconds
        _alarm.add(self)

    def __exit__(self, *_: object) -> None:
        _alarm.remove(self)


class _Alarm:
    """The process's one timer, and the limits that share it.

    The handler may run between any two byte codes, those in here included. So a limit is in the
    list as long as it may strike, and the handler takes it out before it raises: whichever comes
    first, the strike or the end of the block, nothing is left for the other one to do. That holds
    even for a strike in __enter__() or __exit__(), whose exception leaves the with statement.
    """

    def __init__(self) -> None:
        self._limits: list[_Limit] = []  # from the outermost to the innermost
        self._before: tuple[Any, float, float] = signal.SIG_DFL, 0.0, 0.0  # due time, interval

    def add(self, limit: _Limit) -> None:
        if not self._limits:
            self._take_over()
        self._limits.append(limit)
        self._set_timer()

    def remove(self, limit: _Limit) -> None:
        if limit in self._limits:
            self._drop(limit)

    def disarm(self) -> None:
        if self._limits:
            self._drop(self._limits[0])

    def forget(self) -> None:
        self._limits = []

    def _drop(self, limit: _Limit) -> None:
        """Take out a limit, and with it those that are nested in it."""
        del self._limits[self._limits.index(limit) :]
        if self._limits:
            self._set_timer()
        else:
            self._give_back()

    def _set_timer(self) -> None:
        deadline = min(limit.deadline for limit in self._limits)
        signal.setitimer(signal.ITIMER_REAL, max(deadline - time.monotonic(), _AT_ONCE))

    def _strike(self, _signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        for limit in self._limits:
            if limit.deadline <= now:
                self._drop(limit)
                raise TaskTimeout(limit.seconds)
        if self._limits:  # somebody else's signal
            self._set_timer()

    def _take_over(self) -> None:
        delay, interval = signal.setitimer(signal.ITIMER_REAL, 0)
        due = delay and time.monotonic() + delay
        self._before = signal.signal(signal.SIGALRM, self._strike), due, interval

    def _give_back(self) -> None:
        handler, due, interval = self._before
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None stands for a handler that was not installed from Python: it cannot return. A signal
        # that arrived just now still goes to our handler, which finds no limit that it is for.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if due:
            left = max(due - time.monotonic(), _AT_ONCE)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


_alarm = _Alarm()
