"""Jobs that harm their process, or hand back what cannot be kept, after an effect of theirs.

Each enters itself in the ledger first: what fails must take that along.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from faults import ledger

LONG = 3600.0
"""Seconds that nobody waits for."""


class NoError(BaseException):
    """Neither an Exception, nor known to anybody."""


def take(name: str) -> Any:
    """Take the poison of this name."""
    ledger.enter()
    return POISONS[name]()


def _segfault() -> None:
    ctypes.string_at(0)


def _exit(code: int) -> Callable[[], None]:
    return lambda: os._exit(code)


def _leave() -> None:
    sys.exit(3)


def _raise_no_error() -> None:
    raise NoError("neither")


def _loop() -> None:
    while True:
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001 - it swallows all that jobs usually do
            pass


def _loop_in_c() -> None:
    """Never come back to where Python looks for signals."""
    sum(itertools.repeat(1))


def _hoard() -> None:
    hoard = []
    while True:
        hoard.append(bytes(1 << 24))  # not even touched: it is the address space that is limited


def _return_much() -> str:
    return "x" * 100_000_000


def _return_abyss() -> list[Any]:
    """Return lists in lists, deeper than anybody can follow."""
    abyss: list[Any] = []
    for _ in range(1_000_000):
        abyss = [abyss]
    return abyss


def _return_object() -> object:
    return object()


def _return_nan() -> float:
    return math.nan


def _recurse() -> None:
    _recurse()


def _close_descriptors() -> None:
    os.closerange(3, 1 << 16)


def _change_directory() -> None:
    os.chdir("/")
    os.umask(0o777)


def _reset_signals() -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(signum, signal.SIG_IGN)


def _start_threads() -> None:
    for daemon in (True, False):
        threading.Thread(target=time.sleep, args=[LONG], daemon=daemon).start()


def _leave_child() -> None:
    if not os.fork():
        time.sleep(LONG)
        os._exit(0)


def _use_pool() -> list[int]:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, range(-3, 0))


POISONS: dict[str, Callable[[], Any]] = {
    "segfault": _segfault,
    "os._exit(0)": _exit(0),
    "os._exit(1)": _exit(1),
    "sys.exit": _leave,
    "BaseException": _raise_no_error,
    "loop": _loop,
    "loop in C": _loop_in_c,
    "memory bomb": _hoard,
    "100 MB result": _return_much,
    "deep result": _return_abyss,
    "object as result": _return_object,
    "NaN as result": _return_nan,
    "recursion": _recurse,
    "closed descriptors": _close_descriptors,
    "changed directory": _change_directory,
    "reset signals": _reset_signals,
    "threads": _start_threads,
    "child": _leave_child,
    "multiprocessing.Pool": _use_pool,
}
"""What a job can do, by its name."""
