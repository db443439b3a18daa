"""Messages over a pair of connected sockets.

A message on the wire is its length, as eight bytes in network order, and then its bytes. The
parent's end never blocks: whatever a child leaves half-sent stays in a buffer here.
"""

import pickle
import socket
import struct
import threading
from collections import deque
from typing import Any, Self

from multiprocess.reduction import ForkingPickler

from forkpool.errors import NotPicklable, describe

_LENGTH = struct.Struct("!Q")
_CHUNK = 1 << 16
_LARGE_CHUNK = 1 << 20


class Channel:
    """One end of a connection that carries whole messages in both directions.

    Attributes:
        closed_by_peer: True once the other end will send nothing more.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._arrived: deque[bytes] = deque()
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._turn = threading.Lock()  # a task's threads may send notes
        self.closed_by_peer = False

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """The parent's end, which never blocks, and the child's, which does."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(True)  # whatever default timeout the application gave to its sockets
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def unsent(self) -> bool:
        """Whether something waits for flush(), when the descriptor is writable again."""
        return bool(self._outgoing)

    def send(self, message: bytes) -> None:
        """Send a message, or as much of it as can be sent without blocking on this end.

        Raises:
            OSError: the other end is gone.
        """
        with self._turn:
            self._outgoing += _LENGTH.pack(len(message))
            self._outgoing += message
            self.flush()

    def flush(self) -> None:
        """Go on with what send() left.

        Raises:
            OSError: the other end is gone.
        """
        try:
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            pass

    def receive(self) -> bytes:
        """The next message, for the end that blocks.

        Raises:
            EOFError: the other end is gone.
        """
        while not self._arrived:
            if self.closed_by_peer:
                raise EOFError
            self._read()
        return self._arrived.popleft()

    def arrived(self) -> list[bytes]:
        """The messages that one read completes: for the end that does not block."""
        try:
            self._read()
        except BlockingIOError:
            pass
        return self._take_arrived()

    def rest(self) -> list[bytes]:
        """All messages that the other end has written completely until now."""
        try:
            while not self.closed_by_peer:
                self._read()
        except BlockingIOError:  # it lives, or a process that it left behind holds the socket open
            pass
        return self._take_arrived()

    def _take_arrived(self) -> list[bytes]:
        messages = list(self._arrived)
        self._arrived.clear()
        return messages

    def _read(self) -> None:
        try:
            chunk = self._socket.recv(_LARGE_CHUNK if len(self._incoming) > _CHUNK else _CHUNK)
        except ConnectionError:  # the other end closed with something of ours unread
            chunk = b""
        self.closed_by_peer = not chunk
        self._incoming += chunk
        while (message := self._complete()) is not None:
            self._arrived.append(message)

    def _complete(self) -> bytes | None:
        if len(self._incoming) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._incoming)[0]
        if len(self._incoming) < end:
            return None
        message = bytes(memoryview(self._incoming)[_LENGTH.size : end])
        del self._incoming[:end]
        return message


class _ByDill:
    """Something that only dill can pickle, inside of a message that pickle can read."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return _undill, (bytes(ForkingPickler.dumps(self._value)),)


def _undill(data: bytes) -> Any:
    return ForkingPickler.loads(data)


def dumps(value: Any) -> bytes:
    """Pickle a value.

    The standard library's pickler first: it is written in C, and dill's, which knows lambdas and
    closures as well, in Python.

    Raises:
        NotPicklable: neither of them can.
    """
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - a __reduce__ may raise what it likes
        return _dumps_by_dill(value)


def _dumps_by_dill(value: Any) -> bytes:
    try:
        return pickle.dumps(_ByDill(value), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise NotPicklable(f"cannot be pickled: {describe(error)}") from error


def loads(message: bytes) -> Any:
    """What dumps() was given.

    Raises:
        NotPicklable: it cannot be rebuilt in this process.
    """
    try:
        return pickle.loads(message)  # noqa: S301 - comes from a process that we forked ourselves
    except BaseException as error:
        # The object's own code may raise what it likes, a SystemExit too. The parent holds off its
        # signals while it reads, so that no KeyboardInterrupt is among them.
        raise NotPicklable(f"cannot be unpickled: {describe(error)}") from error


def loads_or_error(message: bytes) -> Any:
    """What dumps() was given, or the error that says why it cannot be rebuilt."""
    try:
        return loads(message)
    except NotPicklable as error:
        return error
