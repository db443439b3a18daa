"""Processes that tasks leave behind, and that become children of this one: of PID 1, mostly."""

import ctypes
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from forkpool.interface import Pool

_PR_GET_CHILD_SUBREAPER = 37
_THREADS = Path("/proc/self/task")


def reap_strays(pool: Pool, keep: Iterable[int] = ()) -> int:
    """Reap the dead ones, as PID 1 or a subreaper has to; anywhere else this does nothing.

    Call it now and then, from the process that runs the pool. While nothing is dead it costs one or
    two system calls.

    Args:
        pool: whose workers it leaves alone: their exit status is the pool's.
        keep: process ids of other children that somebody will ask for.

    Returns:
        how many it has reaped.
    """
    if not _is_reaper():
        return 0
    ours = {*pool.pids, *keep}
    reaped = 0
    while pid := _first_dead():
        if pid in ours:  # the kernel tells of no other one until somebody has reaped it
            return reaped + _reap_behind(ours)
        reaped += _reap(pid)
    return reaped


def _is_reaper() -> bool:
    if os.getpid() == 1 or sys.platform != "linux":
        return os.getpid() == 1
    answer = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)


def _first_dead() -> int | None:
    try:
        child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return child and child.si_pid


def _reap_behind(ours: Collection[int]) -> int:
    with suppress(OSError):  # no /proc, or a kernel that lists no children there
        return sum(_reap(pid) for pid in _children() if pid not in ours)
    return 0


def _children() -> Iterator[int]:
    for thread in _THREADS.iterdir():
        yield from map(int, (thread / "children").read_text().split())


def _reap(pid: int) -> bool:
    """Whether it was dead, and is reaped now."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # somebody else was quicker; or it has this number in another /proc
        return False
