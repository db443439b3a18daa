"""A proxy in front of a database server, which fails as a network does.

::

    client ──> Link ──> server       Proxy: one thread, one selector, any number of links
           <──      <──              its owner changes what it does by a word on its own socket

It forwards what clients say message by message, so that it knows a COMMIT when it sees one.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from faults import wire

_CHUNK = 1 << 16
_PATIENCE = 10.0


class Link:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = socket.create_connection(("127.0.0.1", proxy.server_port), timeout=5)
        self.frames = wire.KINDS[proxy.vendor]()
        for end in (client, self.server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.settimeout(_PATIENCE)  # whoever does not read for so long will not read any more

    def from_client(self) -> None:
        """Forward what the client says; the end of it is told to the server."""
        data = _read(self.client)
        if not data:
            self.proxy.drop(self)
            return
        for message in self.frames.feed(data):
            if answer := self.frames.refusal(message):
                self.client.sendall(answer)
            elif self.frames.commits(message) and self.proxy.takes_commit(self, message):
                return
            else:
                self.server.sendall(message)

    def from_server(self) -> None:
        """Forward what the server says; when it ends, so does the link."""
        data = _read(self.server)
        if data:
            self.client.sendall(data)
        else:
            self.proxy.drop(self)


class Proxy:
    """Listens on a port of the loopback, in a thread of its own.

    Attributes:
        port: where clients find it.
        commits: how many asked for a commit.
        cut: how many of these got no answer.
    """

    def __init__(self, vendor: str, server_port: int) -> None:
        self.vendor = vendor
        self.server_port = server_port
        self.commits = 0
        self.cut = 0
        self._to_cut: Callable[[int], bool] = lambda _number: False
        self._delay = 0.0
        self._silent = False
        self._links: set[Link] = set()
        self._late: list[tuple[float, Link, bytes]] = []
        self._words: list[tuple[Callable[[], None], threading.Event]] = []
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ear, self._mouth = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self) -> Self:
        self._selector.register(self._ear, selectors.EVENT_READ, self._heed)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._say(self._end)
        self._thread.join()
        self._mouth.close()

    def cut_commits(self, which: Callable[[int], bool], *, delay: float = 0.0) -> None:
        """From now on, cut off the client of each chosen COMMIT (they are counted from 1) as soon
        as it has sent it. The server gets the COMMIT so many seconds later, as from a slow network.
        """

        def begin() -> None:
            self.commits = self.cut = 0
            self._to_cut, self._delay = which, delay

        self._say(begin)

    def silence(self) -> None:
        """Forward nothing and hold what there is, as a network that loses each packet does."""
        self._say(lambda: self._keep_silent(True))

    def resume(self) -> None:
        """Go on where silence() interrupted."""
        self._say(lambda: self._keep_silent(False))

    def cut_all(self) -> None:
        """Cut every link; new ones may come at once."""
        self._say(self._drop_all)

    def takes_commit(self, link: Link, message: bytes) -> bool:
        """Whether this COMMIT is cut off: then it is sent late, and nobody hears of its end."""
        self.commits += 1
        if not self._to_cut(self.commits):
            return False
        self.cut += 1
        self._selector.unregister(link.client)
        link.client.close()
        self._selector.unregister(link.server)
        self._links.discard(link)
        self._late.append((time.monotonic() + self._delay, link, message))
        return True

    def drop(self, link: Link) -> None:
        """End both connections of a link."""
        self._links.discard(link)
        for end in (link.client, link.server):
            with suppress(KeyError, ValueError):  # it is closed already, or not watched just now
                self._selector.unregister(end)
            end.close()

    def _run(self) -> None:
        while self._selector.get_map():
            for key, _ in self._selector.select(self._pause()):
                with suppress(OSError):  # the next read tells of it
                    key.data()
            self._send_late()
        self._selector.close()

    def _say(self, word: Callable[[], None]) -> None:
        """Have the thread do something, and return when it is done."""
        done = threading.Event()
        self._words.append((word, done))
        self._mouth.send(b"!")
        if not done.wait(2 * _PATIENCE):
            raise TimeoutError("the proxy does not listen")

    def _heed(self) -> None:
        for _ in self._ear.recv(_CHUNK):
            word, done = self._words.pop(0)
            word()
            done.set()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            link = Link(self, client)
        except OSError:  # the server is away, and this is how its client hears of it
            client.close()
            return
        self._links.add(link)
        self._watch(link)

    def _watch(self, link: Link) -> None:
        self._selector.register(link.client, selectors.EVENT_READ, link.from_client)
        self._selector.register(link.server, selectors.EVENT_READ, link.from_server)

    def _keep_silent(self, silent: bool) -> None:
        if silent == self._silent:
            return
        self._silent = silent
        for link in self._links:
            if silent:
                self._selector.unregister(link.client)
                self._selector.unregister(link.server)
            else:
                self._watch(link)
        if silent:
            self._selector.unregister(self._listener)
        else:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _pause(self) -> float | None:
        return max(0.0, self._late[0][0] - time.monotonic()) if self._late else None

    def _send_late(self) -> None:
        """Send the commits whose time has come. The server reads them whole before it notices
        that nobody is there any more."""
        while self._late and self._late[0][0] <= time.monotonic():
            _, link, message = self._late.pop(0)
            with suppress(OSError):
                link.server.sendall(message)
                _read(link.server)  # its answer: now the commit is over
            link.server.close()

    def _drop_all(self) -> None:
        for link in list(self._links):
            self.drop(link)

    def _end(self) -> None:
        self._drop_all()
        for _, link, _message in self._late:
            link.server.close()
        self._late.clear()
        for end in (self._ear, self._listener):
            with suppress(KeyError):
                self._selector.unregister(end)
            end.close()


@contextmanager
def proxy_to(vendor: str, port: int) -> Iterator[Proxy]:
    """Within the block, there is a proxy to the server on this port of the loopback."""
    with Proxy(vendor, port) as proxy:
        yield proxy


def _read(end: socket.socket) -> bytes:
    """What arrived; nothing if the other side is gone."""
    try:
        return end.recv(_CHUNK)
    except OSError:
        return b""
