"""What tests with several connections at once share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from django.db import connection, connections, transaction
from django.db.models import Model

from django_async.models import Job, Parent
from django_async.stamps import Batch

T = TypeVar("T")

DEAD = "0" * 32
"""The token of a parent that is gone."""

DEADLINE = 30.0
"""Seconds after which a test gives up what it waits for."""


@contextmanager
def beside(call: Callable[..., T], *args: Any) -> Iterator[Future[T]]:
    """Run a call in a thread with database connections of its own; at the end, wait for it."""
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(_with_own_connections, call, args)


def elsewhere(call: Callable[..., T], *args: Any) -> T:
    """Run a call on other database connections to its end, and return what it returns."""
    with beside(call, *args) as running:
        return running.result(DEADLINE)


def wait_until(happened: Callable[[], Any], what: str) -> None:
    """Return as soon as ``happened`` gives something true; fail after the deadline."""
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen within {DEADLINE} s"
        time.sleep(0.005)


@contextmanager
def alive(act: Callable[[], object]) -> Iterator[None]:
    """Within the block, the connection on which ``act`` was called lives: that of a thread."""
    ready, go = threading.Event(), threading.Event()

    def stay() -> None:
        act()
        ready.set()
        assert go.wait(DEADLINE)

    with beside(stay) as staying, ExitStack() as stack:
        stack.callback(go.set)
        assert ready.wait(DEADLINE)
        yield
        assert not staying.done()


def left_behind(*batch: Job, workers: int = 1, foreseen: range = range(0)) -> Parent:
    """The row of a parent that died with these jobs in hand."""
    return Parent.objects.create(
        token=DEAD,
        host="elsewhere",
        process="1 ended",
        workers=workers,
        batch=Batch([(job.pk, job.attempts) for job in batch], foreseen).dump(),
    )


@contextmanager
def locked(*rows: Model) -> Iterator[None]:
    """Within the block, another connection holds these rows, as a running job holds its own."""
    held, release = threading.Event(), threading.Event()
    with beside(_hold, rows, held, release) as holder, ExitStack() as stack:
        stack.callback(release.set)
        assert held.wait(DEADLINE)
        yield
        assert not holder.done()


def wait_for_a_waiter(like: str) -> None:
    """Return when a session of this database waits for locked rows, with such a statement."""
    # PostgreSQL shows one transaction the same sessions again and again: so from outside of any.
    wait_until(lambda: elsewhere(_waiting_sessions, like), f"a wait of {like}")


def sessions_with(like: str) -> int:
    """How many other sessions of this database are at such a statement."""
    sql = {
        "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = CURRENT_DATABASE()"
        " AND pid <> pg_backend_pid() AND state <> 'idle' AND query LIKE %s",
        "mysql": "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE %s",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql, [like])
        return int(cursor.fetchone()[0])


def _waiting_sessions(like: str) -> int:
    sql = {
        "postgresql": "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = CURRENT_DATABASE()"
        " AND wait_event_type = 'Lock' AND REPLACE(query, '\"', '') LIKE %s",
        # InnoDB's own list of waits is one for all and renewed only when nobody asks for a while.
        "mysql": "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE db = DATABASE() AND REPLACE(info, '`', '') LIKE %s",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql, [like])
        return int(cursor.fetchone()[0])


@contextmanager
def before_first_write(act: Callable[[], object]) -> Iterator[None]:
    """Act right before the first statement that writes is sent: on SQLite, the last moment at which
    somebody else can write without making whatever was read before obsolete."""
    acted = False

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal acted
        if not acted and sql.startswith(("INSERT", "UPDATE", "DELETE")):
            acted = True
            act()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield
    assert acted, "nothing was written"


def _with_own_connections(call: Callable[..., T], args: tuple[Any, ...]) -> T:
    try:
        return call(*args)
    finally:
        connections.close_all()


def _hold(rows: Sequence[Model], held: threading.Event, release: threading.Event) -> None:
    found = type(rows[0])._base_manager.filter(pk__in=[row.pk for row in rows])
    with transaction.atomic():
        assert len(found.select_for_update()) == len(rows)
        held.set()
        assert release.wait(DEADLINE)
