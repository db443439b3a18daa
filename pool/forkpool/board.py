"""What a task shows: memory that a child shares with its parent, where no system call is needed.

::

    byte    0   the number of the task that is to be interrupted: the parent writes it
            8   the number of the task that an interrupt can strike now, or has struck: the child's
           16   the number of the task that has run to its end: the child's
           24   whether it is to take no further task: the parent's
           32   the number of the task that it has begun: the child's
           40   when that was, on the monotonic clock: the child's
           48   the number of the task that is under way: the child's
           64   a cell: its checksum, the length of the value, a count, the task's number, the value
         1088   another one
         3072   the record of the task that it has taken (see tray.py), which begins with its number

A child writes into the two cells by turns. So one of them is whole at any time, also if it is
killed or stopped while it writes; which one is not, its checksum tells.
"""

import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from forkpool.channel import dumps

_NUMBER = struct.Struct("Q")  # native: written in one piece, where the machine can
_WANTED, _EXPOSED, _ENDED, _LEAVES, _BEGUN, _SINCE, _UNDER_WAY = range(0, 56, 8)
_CHECKSUM = struct.Struct("=I")
_HEAD = struct.Struct("=IQQ")
_MOMENT = struct.Struct("d")
_MOST = 1000  # bytes of a value
_CELL = _CHECKSUM.size + _HEAD.size + _MOST
_CELLS = 64, 64 + _CELL
_TAKEN = 3072
RECORD_SIZE = 1024  # divides a page, so that a pipe keeps each record in one
_SIZE = _TAKEN + RECORD_SIZE
_LOOKS = 100  # at a cell that is being written

_boards: list[Callable[[bytes], object]] = []  # for the task at hand: at most one


def show(value: object) -> None:
    """Put up a small value that the owner of the pool sees at once, in Pool.running().

    It stands there until the next one, or until the task has ended. Anywhere else than in a task,
    as in a process that it has forked, nobody sees it.

    Raises:
        ValueError: the value has more than 1,000 bytes when it is pickled.
        NotPicklable: it cannot be pickled.
    """
    data = dumps(value)
    if len(data) > _MOST:
        raise ValueError(f"a value to be shown has at most {_MOST:,} bytes, not {len(data):,}")
    for board in _boards:
        board(data)


def put_up(*boards: Callable[[bytes], object]) -> list[Callable[[bytes], object]]:
    """Give what is shown to these from now on; returns those that got it before."""
    before = _boards[:]
    _boards[:] = boards
    return before


if hasattr(os, "register_at_fork"):  # else nothing forks
    os.register_at_fork(after_in_child=_boards.clear)


class Slot:
    """The memory of one worker, made before its process is forked."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._counts = count(1)  # of what is shown; threads may draw from it

    def close(self) -> None:
        with suppress(BufferError):  # one of the task's threads is writing just now
            self._memory.close()

    @property
    def wanted(self) -> int:
        """The number of the task that is to be interrupted."""
        return self._number_at(_WANTED)

    @wanted.setter
    def wanted(self, number: int) -> None:
        _NUMBER.pack_into(self._memory, _WANTED, number)

    @property
    def exposed(self) -> int:
        """The number of the task that an interrupt can strike now, or has struck; or 0."""
        return self._number_at(_EXPOSED)

    @exposed.setter
    def exposed(self, number: int) -> None:
        _NUMBER.pack_into(self._memory, _EXPOSED, number)

    @property
    def ended(self) -> int:
        """The number of the latest task that has run to its end, though its report may not be
        under way yet."""
        return self._number_at(_ENDED)

    @ended.setter
    def ended(self, number: int) -> None:
        _NUMBER.pack_into(self._memory, _ENDED, number)

    @property
    def under_way(self) -> int:
        """The number of the latest task that has said that it is under way."""
        return self._number_at(_UNDER_WAY)

    @under_way.setter
    def under_way(self, number: int) -> None:
        _NUMBER.pack_into(self._memory, _UNDER_WAY, number)

    @property
    def leaves(self) -> bool:
        """Whether the child is to take no further task."""
        return bool(self._number_at(_LEAVES))

    @leaves.setter
    def leaves(self, leaves: bool) -> None:
        _NUMBER.pack_into(self._memory, _LEAVES, leaves)

    @property
    def taken(self) -> int:
        """The number of the latest task that the child has taken; or 0."""
        return self._number_at(_TAKEN)

    def begin(self, number: int) -> None:
        """Write down when a task begins: now. What is packed is not written at once, so the number
        is gone before the moment changes, and comes after it: who sees it twice, with the moment in
        between, has seen that one whole."""
        _NUMBER.pack_into(self._memory, _BEGUN, 0)
        _MOMENT.pack_into(self._memory, _SINCE, time.monotonic())
        _NUMBER.pack_into(self._memory, _BEGUN, number)

    def since(self, number: int) -> float:
        """When a task that was taken began; now if that is not written down yet."""
        before = self._number_at(_BEGUN)
        (since,) = _MOMENT.unpack_from(self._memory, _SINCE)
        is_whole = before == self._number_at(_BEGUN) == number
        return float(since) if is_whole else time.monotonic()

    def record(self) -> memoryview:
        """Where the next record goes."""
        return memoryview(self._memory)[_TAKEN:]

    def _number_at(self, offset: int) -> int:
        (number,) = _NUMBER.unpack_from(self._memory, offset)
        return int(number)

    def write(self, number: int, data: bytes) -> None:
        """Show something in the name of a task."""
        turn = next(self._counts)
        body = _HEAD.pack(len(data), turn, number) + data
        cell = _CHECKSUM.pack(zlib.crc32(body)) + body
        offset = _CELLS[turn % 2]
        self._memory[offset : offset + len(cell)] = cell

    def read(self, number: int) -> bytes | None:
        """The latest that a task shows."""
        for _ in range(_LOOKS):
            cells = [self._cell(offset) for offset in _CELLS]
            if None not in cells:
                break
        whole = [cell for cell in cells if cell and cell.number == number]
        return max(whole).data if whole else None

    def _cell(self, offset: int) -> "_Cell | None":
        """What a cell holds, unless it is being written."""
        cell = self._memory[offset : offset + _CELL]
        (checksum,) = _CHECKSUM.unpack_from(cell)
        length, turn, number = _HEAD.unpack_from(cell, _CHECKSUM.size)
        end = _CHECKSUM.size + _HEAD.size + length
        if turn and zlib.crc32(cell[_CHECKSUM.size : end]) != checksum:
            return None
        return _Cell(turn, number, cell[_CHECKSUM.size + _HEAD.size : end])


class _Cell(NamedTuple):
    turn: int
    number: int
    data: bytes
