"""Waking idle services on PostgreSQL: NOTIFY as a hint, never as a promise.

A service that hears nothing finds each job at its next look. So a notification may be lost, or be
impossible (behind a pooler that gives each transaction another session), or be switched off.

The NOTIFY is a statement of its own, sent right after the commit that made the job. Inside the
transaction it would take a lock that all transactions of the server with a NOTIFY share, and hold
it until the commit is on disk: one at a time. It costs a round trip, which is a fifth of what a
short transaction costs; so a process that has just sent one is quiet for QUIET seconds, and whoever
hears one looks again after ECHO seconds, or later, if there are others who do. benchmarks/notify.py
and benchmarks/latency.py measure it.

On other databases a service looks from time to time (patrol.py).
"""

from __future__ import annotations

import select
import time
from typing import Any

from django.db import connections, transaction

from django_async import conf
from django_async.hints import Hint
from django_async.trouble import is_psycopg3

CHANNEL = "django_async"

PAUSES = "pauses"
"""What is said when queues are paused or resumed."""

LONGEST_META = 1000
"""Characters. PostgreSQL takes less than 8,000 bytes in one notification."""

News = Hint | int | None
"""A new job; its id; or some."""

QUIET = ECHO = 0.002
"""Seconds. What is committed within the first is found after the second, which begins later."""

_quiet_until: dict[str, float] = {}
"""By the database's alias."""

_LOOK_BACK = 50
"""How many of a transaction's latest commit hooks are searched for the one that notifies: with one
more for each so many of the application's own, nothing is lost."""


class _Wake:
    """A commit hook that wakes the services: for one job it says which."""

    def __init__(self, using: str, news: News, savepoints: set[str]) -> None:
        self.using = using
        self.news = news
        self.savepoints = savepoints
        # Before Django 6.1 a hook that fails without one fails the caller: it is in the log's text.
        self.__qualname__ = type(self).__qualname__

    def __call__(self) -> None:
        now = time.monotonic()
        if now < _quiet_until.get(self.using, 0.0):
            return
        _quiet_until[self.using] = now + QUIET
        _notify(self.using, _payload(self.news))


def on_commit(using: str, news: News = None) -> None:
    """Wake the services when the transaction has committed: once, however many jobs it makes; of
    the only one, tell what is known of it."""
    connection = connections[using]
    if connection.vendor != "postgresql" or not conf.current().notify:
        return
    savepoints = set(connection.savepoint_ids)
    for _, hook, *_ in connection.run_on_commit[-_LOOK_BACK:]:
        if isinstance(hook, _Wake) and hook.savepoints <= savepoints:  # it outlives this savepoint
            hook.news = None
            return
    transaction.on_commit(_Wake(using, news, savepoints), using=using, robust=True)


def tell_of_pauses(using: str) -> None:
    """Have the services look which queues are paused, when this transaction has committed."""
    if connections[using].vendor == "postgresql":
        _notify(using, PAUSES)


def _notify(using: str, payload: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT PG_NOTIFY(%s, %s)", [CHANNEL, payload])


class Ear:
    """Hears, on the parent's own session, what is notified."""

    def __init__(self, using: str) -> None:
        self._connection = connections[using]
        self._session: Any = None
        self._readable: Any = None
        """Tells, once it listens, whether there is something to hear."""
        self._heard: list[News] = []
        self._has_new_pauses = False

    @property
    def is_deaf(self) -> bool:
        """Whether it could hear, and does not: the session is a new one, as after a fork."""
        return self._session is not self._connection.connection and self.can_hear

    def listen(self) -> None:
        """Hear from now on. What was notified before this is to be looked for."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._session = self._connection.connection
        self._session.add_notify_handler(self._note)
        self._readable = select.poll()
        self._readable.register(self._session.fileno(), select.POLLIN)
        self._has_new_pauses = True

    def fileno(self) -> int | None:
        """The descriptor that is readable when there is something to hear (or the session ends)."""
        if self._session is None or self._session is not self._connection.connection:
            return None
        return None if self._session.closed else int(self._session.fileno())

    @property
    def has_heard(self) -> bool:
        """Whether something was heard that was not told yet."""
        return bool(self._heard) or self._has_new_pauses

    @property
    def has_news(self) -> bool:
        """Whether there is something to do for listen() or hear(), which costs one system call."""
        if self.has_heard or self.is_deaf:
            return True
        return self._readable is not None and bool(self._readable.poll(0))

    def hear(self) -> list[News]:
        """What was notified of new jobs."""
        if self.fileno() is not None:
            with self._connection.wrap_database_errors:
                self._session.pgconn.consume_input()
            while notification := self._session.pgconn.notifies():
                self._take_in(notification.extra.decode())
        heard, self._heard = self._heard, []
        return heard

    def has_new_pauses(self) -> bool:
        """Whether queues were paused or resumed since this was last asked, as far as was heard."""
        new, self._has_new_pauses = self._has_new_pauses, False
        return new

    @property
    def can_hear(self) -> bool:
        """Whether the database notifies, the driver hears it, and the settings want it."""
        return is_psycopg3(self._connection) and conf.current().notify

    def _note(self, notification: Any) -> None:
        """Between two looks, in the answer to some statement."""
        self._take_in(notification.payload)

    def _take_in(self, payload: str) -> None:
        if payload == PAUSES:
            self._has_new_pauses = True
        else:
            self._heard.append(_news(payload))


def _payload(news: News) -> str:
    if not isinstance(news, Hint):
        return "" if news is None else str(news)
    waits = news.scheduled is not None or news.group is not None
    if waits or len(news.meta) > LONGEST_META:
        return str(news.id)
    return f"{news.id} {news.priority} {news.meta}"


def _news(payload: str) -> News:
    """Whatever it says, the claim decides: anybody who may connect to the database may notify."""
    try:
        if payload.isdecimal():
            return _key(payload)
        job_id, priority, meta = payload.split(" ", 2)
        return Hint(_key(job_id), 0, int(priority), None, None, meta)
    except ValueError:
        return None


def _key(number: str) -> int:
    """A number that may be a row's. Raises ValueError for one that the column cannot hold."""
    key = int(number)
    if not 0 < key < 2**63:
        raise ValueError(number)
    return key
