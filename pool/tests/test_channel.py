"""Messages arrive whole, whatever pieces the socket makes of them."""

import select
import socket
import threading
from collections.abc import Iterator

import pytest

from forkpool.channel import Channel


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


Pair = tuple[Channel, Channel]


def test_messages_keep_their_borders(pair: Pair) -> None:
    ours, theirs = pair
    messages = [b"", b"one", b"\0" * 9, b"two"]
    for message in messages:
        theirs.send(message)
    assert ours.arrived() == messages
    assert ours.arrived() == []
    for message in messages:
        ours.send(message)
    assert [theirs.receive() for _ in messages] == messages


def test_a_message_in_pieces_arrives_once_it_is_whole() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    channel = Channel(near)
    with near, far:
        for byte in b"\0\0\0\0\0\0\0\5hell":
            far.send(bytes([byte]))
            assert channel.arrived() == []
        far.send(b"o")
        assert channel.arrived() == [b"hello"]


def test_a_large_message_never_blocks_our_end(pair: Pair) -> None:
    ours, theirs = pair
    message = b"x" * 5_000_000
    ours.send(message)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(theirs.receive()))
    reader.start()
    rounds = 0
    while ours.unsent:
        select.select([], [ours], [], 60)
        ours.flush()
        rounds += 1
    reader.join(60)
    assert rounds > 0  # more than fits into the socket
    assert received == [message]


def test_the_end_of_the_peer_is_no_message(pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"last")
    theirs.close()
    assert ours.rest() == [b"last"]
    assert ours.closed_by_peer


def test_a_peer_that_left_something_unread_is_gone_as_well(pair: Pair) -> None:
    ours, theirs = pair
    ours.send(b"never read")
    theirs.send(b"last")
    theirs.close()
    assert ours.rest() == [b"last"]
    with pytest.raises(BrokenPipeError):
        ours.send(b"more")


def test_the_blocking_end_hears_that_ours_is_gone(pair: Pair) -> None:
    ours, theirs = pair
    ours.send(b"last")
    ours.close()
    assert theirs.receive() == b"last"
    with pytest.raises(EOFError):
        theirs.receive()


def test_a_default_timeout_of_the_application_does_not_count() -> None:
    socket.setdefaulttimeout(0.001)
    try:
        ours, theirs = Channel.pair()
    finally:
        socket.setdefaulttimeout(None)
    assert theirs._socket.gettimeout() is None
    assert ours._socket.gettimeout() == 0
    ours.close()
    theirs.close()
