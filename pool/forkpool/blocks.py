"""Blocks of code that our signals may end by an exception: limited ones and interruptible ones.

A handler may run between any two byte codes, those in here included. So a block is in the list as
long as it may be struck, and who strikes it takes it out before the exception is raised, together
with those that are nested in it: whichever comes first, the strike or the end of the block, nothing
is left for the other one to do. That holds even for a strike in __enter__() or __exit__(), whose
exception leaves the with statement. While the list changes, a strike waits until it has changed.
"""

from collections.abc import Iterable, Sequence
from typing import Self


class Block:
    """A context that `strike`, as the handler of a signal, may end. In the main thread only."""

    def __enter__(self) -> None:
        _stack.add(self)

    def __exit__(self, *_: object) -> None:
        _stack.remove(self)

    def blow(self) -> BaseException | None:
        """What is to be raised in the block now, unless an outer one is struck instead."""
        raise NotImplementedError

    def struck(self) -> None:
        """It is raised."""

    @classmethod
    def fit(cls, blocks: Sequence[Self]) -> None:
        """Make timers and the like right for the blocks of this kind that are open."""
        raise NotImplementedError


def strike(*_: object) -> None:
    """The handler: raise what is due, in the outermost block for which something is."""
    _stack.strike()


def disarm() -> None:
    """End blocks that were entered and never left."""
    _stack.disarm()


def forget() -> None:
    """Drop the blocks of the process that this one was forked from."""
    _stack.forget()


class _Stack:
    def __init__(self) -> None:
        self._blocks: list[Block] = []  # from the outermost to the innermost
        self._changing = False
        self._pending = False  # a signal has come, and nobody has looked since

    def add(self, block: Block) -> None:
        self._changing = True
        try:
            self._blocks.append(block)
            self._fit([block])
        finally:
            self._changing = False
        if self._pending or block.blow():  # it came meanwhile, or before the block was entered
            self._look()

    def remove(self, block: Block) -> None:
        self._changing = True
        try:
            self._drop(block)
        finally:
            self._changing = False
        if self._pending:
            self._look()

    def disarm(self) -> None:
        if self._blocks:
            self.remove(self._blocks[0])

    def forget(self) -> None:
        self._blocks = []
        self._changing = self._pending = False

    def strike(self) -> None:
        self._pending = True
        self._look()

    def _look(self) -> None:
        strike = None
        again = not self._changing  # else who changes the list looks after that
        while again:
            self._changing = True
            try:
                strike = self._next_strike() or strike
            finally:
                self._changing = False
            again = self._pending
        if strike:
            block, error = strike
            block.struck()
            raise error

    def _next_strike(self) -> tuple[Block, BaseException] | None:
        came = self._pending
        self._pending = False
        strike = self._find_strike()
        if came:  # the timer may have been a moment early
            self._fit(self._blocks)
        return strike

    def _find_strike(self) -> tuple[Block, BaseException] | None:
        for block in self._blocks:
            if error := block.blow():
                self._drop(block)
                return block, error
        return None

    def _drop(self, block: Block) -> None:
        """Take out a block, and with it those that are nested in it."""
        if block in self._blocks:
            place = self._blocks.index(block)
            dropped = self._blocks[place:]
            del self._blocks[place:]
            self._fit(dropped)

    def _fit(self, changed: Iterable[Block]) -> None:
        for kind in {type(block) for block in changed}:
            kind.fit([block for block in self._blocks if type(block) is kind])


_stack = _Stack()
