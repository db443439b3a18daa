"""The backlogs of several databases, read beside each other, for who cannot wait for all of them.

A database that is silent keeps nobody from what the others say, and is asked again only when the
question before has come to its end. So there is at most one thread for each database, and one
session, however many want to know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from threading import Lock

from django.db import connections

from django_async import backlog, sessions

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds until a silent database is given up, and may be asked anew. They are more than those for
which somebody waits: MariaDB goes on with a long statement when nobody listens any more, and is not
to have one more of them for each time that it is asked."""

Told = tuple[float, ...]
"""How many jobs are due, and the age of the oldest; nothing if that could not be read."""


class Readings:
    """Reads how much is due, each database in a thread of its own."""

    def __init__(self, databases: Sequence[str]) -> None:
        self._databases = databases
        self._threads = ThreadPoolExecutor(max(1, len(databases)), "django_async.readings")
        self._choosing = Lock()
        self._latest: dict[str, Future[Told]] = {}

    def within(self, seconds: float) -> dict[str, Told]:
        """By alias, what the databases tell in so many seconds; without those that take longer."""
        begun = self._begin()
        wait(begun.values(), timeout=seconds)
        return {alias: reading.result() for alias, reading in begun.items() if reading.done()}

    def _begin(self) -> dict[str, Future[Told]]:
        """A reading of each database: the one that goes on, or a new one."""
        with self._choosing:
            for alias in self._databases:
                if alias not in self._latest or self._latest[alias].done():
                    self._latest[alias] = self._threads.submit(_read, alias)
            return dict(self._latest)


def bounded(databases: Sequence[str], act: Callable[[], None]) -> None:
    """Act where these databases are given up when they are silent. Before the threads, and not in
    each of them: what it changes is the settings of all."""
    with ExitStack() as stack:
        for alias in databases:
            stack.enter_context(sessions.bounded_waits(connections[alias], PATIENCE))
        act()


def _read(alias: str) -> Told:
    try:
        return backlog.told(backlog.read(alias), alias)
    except Exception:
        logger.warning("The backlog of %r cannot be read.", alias, exc_info=True)
        return ()
    finally:
        connections[alias].close()
