"""The tasks that wait for a worker: a pipe of records, from which all workers read.

A record is the number of a task, the length of its message and the message, padded to SIZE. The
kernel lets one at a time read, and a record never crosses a page of the pipe, so that each is taken
once and whole, in the order of the hand-outs. It is read straight into the memory that a child
shares with its parent: what a child has taken stands there, wherever it is killed.

The parent can take records back, through an opening of its own that does not block.
"""

import os
import struct
from contextlib import suppress

from forkpool.board import RECORD_SIZE, Slot

_HEAD = struct.Struct("=QI")
_MOST = RECORD_SIZE - _HEAD.size  # bytes of a message
_TOO_LONG = 0xFFFFFFFF  # instead of a length: the child asks for the message


class Tray:
    """Both ends of the pipe, in the parent and in each child.

    Attributes:
        gives_back: whether take_back() can be used: on Linux, with /proc.
        capacity: number of tasks that it holds, where it gives back.
    """

    def __init__(self) -> None:
        self._reader = self._writer = self._back = -1
        self.gives_back = False
        self.capacity = 0

    def start(self, wanted: int = 0) -> None:
        """Be there, for so many tasks if the system lets it."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        # O_NONBLOCK on the children's own end would be theirs as well.
        try:
            self._back = os.open(f"/proc/self/fd/{self._reader}", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return
        self.gives_back = True
        self.capacity = _enlarged(self._writer, wanted * RECORD_SIZE) // RECORD_SIZE

    def put(self, number: int, message: bytes) -> bool:
        """Lay down a task; False if there is no room for it."""
        length = len(message) if len(message) <= _MOST else _TOO_LONG
        head = _HEAD.pack(number, length)
        record = head + message if length != _TOO_LONG else head
        try:
            os.write(self._writer, record.ljust(RECORD_SIZE, b"\0"))
        except BlockingIOError:
            return False
        return True

    def take_back(self) -> list[int]:
        """The numbers of the tasks that no worker has taken, and none will take."""
        numbers = []
        try:
            while record := os.read(self._back, RECORD_SIZE):
                numbers.append(_HEAD.unpack_from(record)[0])
        except BlockingIOError:
            pass
        return numbers

    def take(self, slot: Slot) -> tuple[int, bytes | None] | None:
        """In a child: wait for the next task, and take it. Its number, and the message unless that
        is too long for a record; or None, when the parent has closed its end."""
        with slot.record() as record:
            if os.readv(self._reader, [record]) < RECORD_SIZE:
                return None
            number, length = _HEAD.unpack_from(record)
            if length == _TOO_LONG:
                return number, None
            return number, bytes(record[_HEAD.size : _HEAD.size + length])

    def end(self) -> None:
        """Nothing more comes: whoever has taken what is left may go."""
        self._writer = _closed(self._writer)

    def keep_reader(self) -> None:
        """In a child of the pool: close what is the parent's."""
        self._writer = _closed(self._writer)
        self._back = _closed(self._back)

    def close(self) -> None:
        self.keep_reader()
        self._reader = _closed(self._reader)
        self.gives_back = False


def _enlarged(pipe: int, wanted: int) -> int:
    """How many bytes the pipe holds, after it was made as large as wanted, if that is allowed."""
    import fcntl  # not on Windows

    if (size := fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)) < wanted:
        with suppress(OSError):  # more than a user may have
            size = fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, wanted)
    return size


def _closed(descriptor: int) -> int:
    if descriptor >= 0:
        os.close(descriptor)
    return -1
