"""Signals: those that ask a program to stop are noted for its loop, others are kept off."""

import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from importlib import import_module
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

_STOPPING = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")
_NAMES = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGALRM", "SIGURG", "SIGUSR1", "SIGUSR2")


def _existing(names: Iterable[str]) -> list[signal.Signals]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]  # less on Windows


_USUAL = _existing(_NAMES)

_in_c: Any = import_module("_signal") if "_signal" in sys.builtin_module_names else signal
"""What wraps these functions makes an enumeration's member of each signal, which takes ten times as
long: in each child for all signals, and at each task for some."""

set_mask: Any = getattr(_in_c, "pthread_sigmask", None)  # which Windows has not
set_handler: Callable[[int, Any], Any] = _in_c.signal
handler_of: Callable[[int], Any] = _in_c.getsignal
ALL = frozenset(_in_c.valid_signals())


def blocked(signals: Iterable[int] = _USUAL) -> AbstractContextManager[None]:
    """Keep handlers from running, and so from raising, in this thread until the block is left.

    Those that programs install handlers for, if not said otherwise: to block all costs twenty times
    as much.
    """
    return _Blocked(signals)


class _Blocked(AbstractContextManager[None]):
    """A generator would take twice as long, several times a task."""

    def __init__(self, signals: Iterable[int]) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._before = set_mask(signal.SIG_BLOCK, self._signals)

    def __exit__(self, *_: object) -> None:
        set_mask(signal.SIG_SETMASK, self._before)


class StopSignals:
    """While the context is entered, SIGINT, SIGTERM, SIGQUIT and SIGHUP are only counted.

    SIGQUIT, which is to say at once, counts as two signals. A SIGHUP that is ignored already, as
    under nohup, stays so.

    The descriptor, given to a pool as `wakeup`, becomes readable at a signal, so that wait()
    returns. Only the main thread can receive signals: in another one this changes nothing, and
    counts none.

    Args:
        on_second: called with the signal's number from the handler, between any two byte codes, at
            the second signal and each one after it. It may raise, to interrupt what runs.
        hangups: a SIGHUP says something else than to stop: it is counted apart, also if it was
            ignored before.

    Attributes:
        count: number of signals so far.
        signum: the latest of them.
        hangups: number of SIGHUPs so far, if they are counted apart.
    """

    _all: ClassVar[weakref.WeakSet["StopSignals"]] = weakref.WeakSet()

    def __init__(
        self, *, on_second: Callable[[int], object] | None = None, hangups: bool = False
    ) -> None:
        self._handled = self._arrived = 0
        self.signum: int | None = None
        self.hangups = 0
        self._on_second = on_second
        self._hangs_up = hangups
        # A pair of sockets and not a pipe, for the sake of Windows.
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._handlers: dict[signal.Signals, Any] = {}
        self._wakeup = -1
        self._all.add(self)

    @classmethod
    def close_all(cls) -> None:
        """In a forked process: close what it inherited."""
        for signals in cls._all:
            signals._close()

    def fileno(self) -> int:
        """The descriptor that is readable after a signal, until drain()."""
        return self._reader.fileno()

    @property
    def count(self) -> int:
        # Python calls a handler once for several signals that come while it is deaf, as in a
        # driver's C; each has left a byte.
        return max(self._handled, self._arrived)

    def drain(self) -> None:
        """Make the descriptor wait for the next signal."""
        try:
            while arrived := self._reader.recv(4096):
                self._arrived += sum(map(self._weight, arrived))
        except BlockingIOError:
            pass

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            self._handlers = {signum: signal.signal(signum, self._note) for signum in self._heeded}
        return self

    @property
    def _heeded(self) -> list[signal.Signals]:
        return [
            signum
            for signum in _existing(_STOPPING)
            if signum.name != "SIGHUP"
            or self._hangs_up
            or signal.getsignal(signum) != signal.SIG_IGN
        ]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handlers:
            for signum, handler in self._handlers.items():
                # None stands for a handler that was not installed from Python: it cannot return.
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)
            signal.set_wakeup_fd(self._wakeup)
        self._handlers = {}
        self._close()

    def _close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        if signal.Signals(signum).name == "SIGHUP" and self._hangs_up:
            self.hangups += 1
            return
        self._handled += self._weight(signum)
        self.signum = signum
        if self._on_second and max(self._handled, self._arrived + self._unheard()) > 1:
            self._on_second(signum)

    def _unheard(self) -> int:
        """How many have left a byte that is not drained yet."""
        try:
            return sum(map(self._weight, self._reader.recv(4096, socket.MSG_PEEK)))
        except OSError:  # there is none; or this is a fork of the process, without its descriptors
            return 0

    def _weight(self, signum: int) -> int:
        """How much a signal counts: those of others, as timers', for nothing."""
        if signum not in self._handlers:
            return 0
        name = signal.Signals(signum).name
        if name == "SIGHUP" and self._hangs_up:
            return 0
        return 2 if name == "SIGQUIT" else 1
