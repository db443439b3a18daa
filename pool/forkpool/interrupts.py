"""Interrupts: what a parent asks for, and the part of a task in which it may happen.

The parent writes the number of the task into the child's slot and sends a signal, which says no
more than that there is something to read. So one that comes late strikes nobody. The signal is
SIGURG, since whoever has no handler for it, or not yet, ignores it.
"""

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Self

from forkpool.blocks import Block, strike
from forkpool.board import Slot
from forkpool.errors import TaskInterrupted
from forkpool.signals import handler_of, set_handler, set_mask


def interruptible() -> AbstractContextManager[object]:
    """Let Pool.interrupt() raise TaskInterrupted in the block, once in a task.

    An interrupt that came before strikes at the entry, one that comes after the block waits for
    the next one. It interrupts what a soft time limit interrupts, and the signal, SIGURG, is the
    block's: a task's own handler is not put back. Where limits and interruptible blocks are nested,
    what is struck ends with all that is in it.

    Outside of a ForkPool's task, and of its main thread, nothing interrupts the block.
    """
    main = threading.current_thread() is threading.main_thread()
    return _Region() if _desk.task and main else nullcontext()


def under_way() -> None:
    """In a task: what its ``begin_limit`` was for has come about. Elsewhere it does nothing."""
    if _desk.slot:
        _desk.slot.under_way = _desk.task


def was_interrupted() -> bool:
    """Whether Pool.interrupt() has struck the task at hand, whatever that has done about it.

    If not, a TaskInterrupted in it is its own.
    """
    return bool(_desk.task) and _desk.struck


def signal_to(pid: int) -> None:
    """Make a child look at its slot.

    Raises:
        ProcessLookupError: somebody else has reaped it.
    """
    os.kill(pid, signal.SIGURG)


def begin(slot: Slot, number: int) -> None:
    """This process runs a task from now on: the one that may be interrupted in it."""
    _desk.begin(slot, number)


def end() -> None:
    """It has ended."""
    _desk.task = 0


def receive() -> None:
    """Be ready for the signal, whatever a task has done about it."""
    if handler_of(signal.SIGURG) is not strike:
        set_handler(signal.SIGURG, strike)
    set_mask(signal.SIG_UNBLOCK, [signal.SIGURG])


class _Region(Block):
    def __enter__(self) -> None:
        receive()
        super().__enter__()

    def blow(self) -> BaseException | None:
        return TaskInterrupted() if _desk.is_wanted else None

    def struck(self) -> None:
        _desk.struck = True
        _desk.expose(True)

    @classmethod
    def fit(cls, blocks: Sequence[Self]) -> None:
        _desk.expose(bool(blocks))


class _Desk:
    """The task at hand, as this process knows it."""

    def __init__(self) -> None:
        self.slot: Slot | None = None
        self.task = 0  # its number
        self.struck = False

    def begin(self, slot: Slot, number: int) -> None:
        self.slot, self.task, self.struck = slot, number, False

    @property
    def is_wanted(self) -> bool:
        """Whether the task is to be interrupted, and was not yet."""
        wanted = self.slot.wanted if self.slot else 0
        return bool(wanted) and wanted == self.task and not self.struck

    def expose(self, exposed: bool) -> None:
        """Tell the parent whether there is something to interrupt, or was."""
        if self.slot:
            self.slot.exposed = self.task if exposed or self.struck else 0

    def forget(self) -> None:
        self.slot, self.task = None, 0


_desk = _Desk()
if hasattr(os, "register_at_fork"):  # a copy that a task has forked is not the task
    os.register_at_fork(after_in_child=_desk.forget)
