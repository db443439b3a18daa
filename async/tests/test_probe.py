"""The look at the queue's health: how long it waits for a database that says nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from django.db import connection

from django_async import probe, sessions
from suite.together import DEADLINE, beside

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server"),
]

SHORTEST = 2
"""Seconds: libpq takes less for that."""


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A server that takes connections and never says a word, until it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        monkeypatch.setitem(connection.settings_dict, "PORT", server.getsockname()[1])
        yield server


def test_it_waits_for_10_seconds_at_the_most() -> None:
    waits = {"mysql": probe.PATIENCE, "postgresql": sessions._CLIENTS_WATCH["connect_timeout"]}
    assert waits[connection.vendor] == 10


def test_a_database_that_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, silence: socket.socket
) -> None:
    """And long before the operating system, or a driver, does so by itself."""
    monkeypatch.setattr(probe, "PATIENCE", SHORTEST)
    monkeypatch.setitem(sessions._CLIENTS_WATCH, "connect_timeout", SHORTEST)
    with beside(probe.ailment, "default") as looking, silence:
        wrong = looking.result(DEADLINE)
    assert wrong
    assert wrong.startswith("The database 'default' does not answer: ")
