"""Statements that PostgreSQL reads and plans once in a session, and not once a job.

To read and plan the claim and the mark takes the server as long as to execute them, and the look at
the top of the queue five times as long. So workers and parents prepare them, and send the short
EXECUTE. (psycopg's own preparing needs messages with one statement each, and two of them: see
roundtrips.py.)

A plan that was made while the table was small may read all of it when it is large. So it is made
with sequential scans ruled out; and anew every few seconds, if it is still used by then, since the
server plans by itself, as the table then is, once statistics or columns have changed.

Who has no sessions of its own (behind a pooler that gives each transaction another one), or gets a
statement refused, sends the statements as they are.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import wire
from django_async.trouble import is_alive, is_between, is_psycopg3

logger = logging.getLogger(__name__)

AGE = 10.0
"""Seconds after which what was prepared is forgotten."""

WORTH_WHILE = 20
"""Jobs. To prepare claim and mark takes a new session 1 to 2 ms, and saves each job under 0.1."""

GONE = ("26000", "0A000")
"""SQLSTATEs: there is no such prepared statement (any more); and its columns have changed since."""

PREPARE = (
    "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan;"
    " PREPARE {name} AS {statement}; EXPLAIN EXECUTE {name}{nulls}; COMMIT"
)


class Plans:
    """What one session has prepared."""

    def __init__(self) -> None:
        self._calls: dict[str, str] = {}
        """By the statement, what executes it."""
        self._wanted: set[str] = set()
        self._next_time = 0.0

    def planned(self, statement: str) -> str:
        """What is to be executed in the place of a statement, with the same parameters. If that is
        the statement itself, the next one like it will be prepared."""
        if call := self._calls.get(statement):
            return call
        self._wanted.add(statement)
        return statement

    @property
    def is_due(self) -> bool:
        """Whether there is something to prepare, or to forget."""
        return bool(self._wanted) or (bool(self._calls) and time.monotonic() > self._next_time)

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        """Prepare what was wanted; and once in a while forget everything, of which what is still in
        use will be wanted again. Outside of a transaction.

        Raises what wire.send() raises.
        """
        if time.monotonic() > self._next_time:
            self._forget(connection)
        while self._wanted:
            statement = self._wanted.pop()
            name = _name(statement)
            nulls = _list("NULL", statement)
            sql = PREPARE.format(name=name, statement=_numbered(statement), nulls=nulls)
            wire.send(sql, [], connection)
            self._calls[statement] = f"EXECUTE {name}{_list('%s', statement)}"

    def _forget(self, connection: BaseDatabaseWrapper) -> None:
        self._next_time = time.monotonic() + AGE
        calls, self._calls = self._calls, {}
        if calls:
            names = "; ".join(f"DEALLOCATE {_name(statement)}" for statement in calls)
            wire.send(names, [], connection)


class _Process:
    """Whether this process prepares statements, and those of its sessions."""

    def __init__(self) -> None:
        self.prepares = False
        self.sessions: WeakKeyDictionary[Any, Plans] = WeakKeyDictionary()

    def plans_of(self, connection: BaseDatabaseWrapper) -> Plans | None:
        """Those of the connection's session; None where nothing is prepared."""
        session = connection.connection
        if not (self.prepares and wire.IS_POSSIBLE and is_psycopg3(connection)) or session is None:
            return None
        try:
            return self.sessions[session]
        except KeyError:
            return self.sessions.setdefault(session, Plans())


_process = _Process()


def begin(most_jobs: int | None = None) -> None:
    """This process sends the same statements again and again, for each of so many jobs at the most:
    from a certain number on it is worth while to prepare them."""
    _process.prepares = most_jobs is None or most_jobs >= WORTH_WHILE


def give_up() -> None:
    """Send statements as they are, from now on."""
    _process.prepares = False


def is_due(using: str) -> bool:
    """Whether there is something to prepare for this database's session, and it is possible now."""
    connection = connections[using]
    plans = _process.plans_of(connection)
    return plans is not None and plans.is_due and is_between(connection)


def prepare(using: str) -> None:
    """Prepare what is due: after a job or a look, so that none waits for it."""
    connection = connections[using]
    plans = _process.plans_of(connection)
    if plans is None or not (plans.is_due and is_between(connection)):
        return
    try:
        plans.prepare(connection)
    except DatabaseError:
        if not is_alive(connection):
            return
        logger.info("Statements are not prepared here.", exc_info=True)
        give_up()
        with suppress(DatabaseError):
            wire.send("ROLLBACK", [], connection)


def planned(statement: str, connection: BaseDatabaseWrapper) -> str:
    """What is to be executed in the place of the statement, with the same parameters."""
    plans = _process.plans_of(connection)
    return statement if plans is None else plans.planned(statement)


def is_gone(error: DatabaseError) -> bool:
    """Whether a statement was refused that the session was thought to have prepared."""
    return getattr(error.__cause__, "sqlstate", None) in GONE


def _name(statement: str) -> str:
    """A name that stands for this statement everywhere: behind a pooler a session may have what
    somebody else has prepared in it, and to execute another statement would be worse than none."""
    return f"django_async_{sha256(statement.encode()).hexdigest()[:24]}"


def _numbered(statement: str) -> str:
    pieces = statement.split("%s")
    numbered = (f"{piece}${number}" for number, piece in enumerate(pieces[:-1], 1))
    return ("".join(numbered) + pieces[-1]).replace("%%", "%")


def _list(item: str, statement: str) -> str:
    items = ", ".join([item] * statement.count("%s"))
    return f"({items})" if items else ""
