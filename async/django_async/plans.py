"""Statements that PostgreSQL reads and plans once in a session, and not once a job.

To read and plan the claim and the mark takes the server as long as to execute them, and the look at
the top of the queue five times as long. So workers and parents prepare them, and execute them by
their names; also BEGIN, COMMIT and what else travels in one message with the claim or the mark, as
a pipeline. (An EXECUTE in SQL would be read and checked like any statement. psycopg's own pipelines
and preparing are behind its cursors: see wire.py.)

A plan that was made while the table was small may read all of it when it is large. So it is made
with sequential scans ruled out; and anew every few seconds, if it is still used by then, since the
server plans by itself, as the table then is, once statistics or columns have changed.

Who has no sessions of its own (behind a pooler that gives each transaction another one), or gets a
statement refused, sends the statements as they are.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import wire
from django_async.trouble import error_number, is_alive, is_between, is_psycopg3
from django_async.wire import Statement

logger = logging.getLogger(__name__)

AGE = 10.0
"""Seconds after which what was prepared is forgotten."""

WORTH_WHILE = 20
"""Jobs. To prepare claim and mark takes a new session 1 to 2 ms, and saves each job under 0.1."""

GONE = ("26000", "0A000")
"""SQLSTATEs: there is no such prepared statement (any more); and its columns have changed since."""

RULES = "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan"
"""For the planner, while statements are prepared."""


class Plans:
    """What one session has prepared."""

    def __init__(self) -> None:
        self._names: dict[str, bytes] = {}
        """By the statement, under which name."""
        self._wanted: set[str] = set()
        self._next_time = 0.0

    def name_of(self, statement: str) -> bytes | None:
        """The name of the statement; if it has none, the next one like it will have one."""
        if name := self._names.get(statement):
            return name
        self._wanted.add(statement)
        return None

    def calls(self, statements: Sequence[Statement]) -> list[wire.Call] | None:
        """The statements by their names; None if some have none."""
        names = [self.name_of(sql) for sql, _ in statements]
        calls = [
            (name, params) for name, (_, params) in zip(names, statements, strict=True) if name
        ]
        return calls if len(calls) == len(statements) else None

    @property
    def is_due(self) -> bool:
        """Whether there is something to prepare, or to forget."""
        return bool(self._wanted) or (bool(self._names) and time.monotonic() > self._next_time)

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        """Prepare what was wanted; and once in a while forget everything, of which what is still in
        use will be wanted again. Outside of a transaction.

        Raises what wire.send() raises.
        """
        if time.monotonic() > self._next_time:
            self._forget(connection)
        if not self._wanted:
            return
        wire.send(RULES, [], connection)
        names = {statement: _prepare(statement, connection) for statement in self._wanted}
        wire.send("COMMIT", [], connection)
        self._names |= names
        self._wanted.clear()

    def _forget(self, connection: BaseDatabaseWrapper) -> None:
        self._next_time = time.monotonic() + AGE
        names, self._names = self._names.values(), {}
        if names:
            message = "; ".join(f"DEALLOCATE {name.decode()}" for name in names)
            wire.send(message, [], connection)


def _prepare(statement: str, connection: BaseDatabaseWrapper) -> bytes:
    """Prepare a statement, and have it planned now; its name."""
    name = _name(statement)
    wire.prepare(name.encode(), _numbered(statement), connection)
    nulls = ", ".join(["NULL"] * statement.count("%s"))
    wire.send(f"EXPLAIN EXECUTE {name}" + (f"({nulls})" if nulls else ""), [], connection)
    return name.encode()


class _Process:
    """Whether this process prepares statements, and those of its sessions."""

    def __init__(self) -> None:
        self.prepares = False
        self.sessions: WeakKeyDictionary[Any, Plans] = WeakKeyDictionary()

    def plans_of(self, connection: BaseDatabaseWrapper) -> Plans | None:
        """Those of the connection's session; None where nothing is prepared."""
        session = connection.connection
        can = wire.IS_POSSIBLE and is_psycopg3(connection) and wire.has_pipelines()
        if session is None or not (self.prepares and can):
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


def send(
    statements: Sequence[Statement], connection: BaseDatabaseWrapper, answer: int = 0
) -> wire.Row | None:
    """Send statements as one message, which this process does again and again; the first row of the
    answer to the one of this number. Raises what wire.send() raises."""
    plans = _process.plans_of(connection)
    if plans and (calls := plans.calls(statements)):
        return wire.execute(calls, connection, answer)
    message = "; ".join(sql for sql, _ in statements)
    params = [one for _, some in statements for one in some]
    return wire.send(message, params, connection, answer)


def ask(sql: str, params: Sequence[Any], connection: BaseDatabaseWrapper) -> list[wire.Row]:
    """The rows that a statement answers with, where this process asks it again and again."""
    if not wire.can_send(connection):
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())
    plans = _process.plans_of(connection)
    try:
        return wire.ask(sql, params, connection, plans.name_of(sql) if plans else None)
    except DatabaseError as error:
        if not goes_on_without(error):
            raise
        return ask(sql, params, connection)


def goes_on_without(error: DatabaseError) -> bool:
    """Give up if a statement was refused that the session was thought to have prepared; whether it
    was that, so that it is to be sent as it is."""
    is_gone = _process.prepares and error_number(error) in GONE
    if is_gone:
        give_up()
    return is_gone


def _name(statement: str) -> str:
    """A name that stands for this statement everywhere: behind a pooler a session may have what
    somebody else has prepared in it, and to execute another statement would be worse than none."""
    return f"django_async_{sha256(statement.encode()).hexdigest()[:24]}"


def _numbered(statement: str) -> str:
    pieces = statement.split("%s")
    numbered = (f"{piece}${number}" for number, piece in enumerate(pieces[:-1], 1))
    return ("".join(numbered) + pieces[-1]).replace("%%", "%")
