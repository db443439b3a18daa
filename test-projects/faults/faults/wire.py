"""As much of the two wire protocols as it takes to see a COMMIT go by, from the client's side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

_COMMIT = re.compile(rb"(^|[;\0])\s*COMMIT\s*($|[;\0])", re.IGNORECASE)


class Frames(Protocol):
    """What a client says, message by message."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that these bytes complete, as they came."""

    def commits(self, message: bytes) -> bool:
        """Whether the message asks for a commit."""

    def refusal(self, message: bytes) -> bytes:
        """What to answer in the server's place; empty where the message is for the server."""


class PostgreSQL:
    """A kind and a length, of itself and the content; the first messages have no kind. What belongs
    to a pipeline is one message here, up to its Sync."""

    _ENCRYPTION = (80877103, 80877104)
    """Asks for TLS and for GSSAPI: through these the proxy could not see."""

    _QUERY, _PARSE, _BIND = b"Q", b"P", b"B"
    _PARTS = b"PBDEC"
    """Kinds of messages after which others follow: Parse, Bind, Describe, Execute, Close."""

    def __init__(self) -> None:
        self._rest = b""
        self._pipeline = b""
        self._started = False
        self._prepared: dict[bytes, bytes] = {}
        """Statements by their names."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while message := self._next():
            self._rest = self._rest[len(message) :]
            self._pipeline += message
            if self._started and message[:1] in self._PARTS:
                continue
            self._started = self._started or not self.refusal(message)
            whole, self._pipeline = self._pipeline, b""
            yield whole

    def commits(self, message: bytes) -> bool:
        # All of them are looked at, since a Parse is to be remembered.
        found = [self._commits(kind, content) for kind, content in self._split(message)]
        return any(found)

    def refusal(self, message: bytes) -> bytes:
        asks = len(message) == 8 and int.from_bytes(message[4:], "big") in self._ENCRYPTION
        return b"N" if asks else b""

    def _next(self) -> bytes:
        kind = int(self._started)
        if len(self._rest) < kind + 4:
            return b""
        end = kind + int.from_bytes(self._rest[kind : kind + 4], "big")
        return self._rest[:end] if len(self._rest) >= end else b""

    def _split(self, message: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The messages of a pipeline, or the one that it is: their kinds and contents."""
        while message[:1].isalpha():  # unlike the first messages, which begin with a length
            end = 1 + int.from_bytes(message[1:5], "big")
            yield message[:1], message[5:end]
            message = message[end:]

    def _commits(self, kind: bytes, content: bytes) -> bool:
        if kind == self._QUERY:
            return _COMMIT.search(content) is not None
        name, _, rest = content.partition(b"\0")
        if kind == self._PARSE:
            self._prepared[name] = rest.partition(b"\0")[0]
        statement = self._prepared.get(rest.partition(b"\0")[0], b"")  # after the portal's name
        return kind == self._BIND and _COMMIT.search(statement) is not None


class MariaDB:
    """Three bytes of length, a number in the conversation, and the content."""

    _QUERY = b"\x03"

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while len(self._rest) >= 4:
            end = 4 + int.from_bytes(self._rest[:3], "little")
            if len(self._rest) < end:
                return
            message, self._rest = self._rest[:end], self._rest[end:]
            yield message

    def commits(self, message: bytes) -> bool:
        # Each command begins a conversation; what follows in it is numbered on.
        asks = message[3] == 0 and message[4:5] == self._QUERY
        return asks and _COMMIT.search(message[5:]) is not None

    def refusal(self, message: bytes) -> bytes:
        return b""


KINDS: dict[str, type[PostgreSQL | MariaDB]] = {"postgresql": PostgreSQL, "mysql": MariaDB}
"""By the vendor's name in Django."""
