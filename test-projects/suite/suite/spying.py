"""What is sent to the database, seen on its way, and held up there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connection, transaction

from django_async.models import Job
from suite.together import DEADLINE, beside


@contextmanager
def each_statement(see: Callable[[str, Any], object]) -> Iterator[None]:
    """Within the block, show each statement and its parameters before it is sent; the statements
    that ``see`` itself sends are not shown."""
    seeing = False

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal seeing
        if not seeing:
            seeing = True
            try:
                see(sql, params)
            finally:
                seeing = False
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield


def blocks_read(work: Callable[[], object]) -> int:
    """How many blocks the statements of some work read, by PostgreSQL's own word."""
    read: list[int] = []

    def explain(sql: str, params: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            [[[plan]]] = cursor.fetchall()
        read.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])

    with each_statement(explain):
        work()
    return sum(read)


@contextmanager
def before_statement(start: str, number: int, act: Callable[[], object]) -> Iterator[None]:
    """Act before the statement of this number among those that begin with ``start``, from 1."""
    seen = 0

    def see(sql: str, params: Any) -> None:
        nonlocal seen
        seen += sql.startswith(start)
        if seen == number and sql.startswith(start):
            act()

    with each_statement(see):
        yield
    assert seen >= number, f"{seen} statements began with {start!r}"


@contextmanager
def writing() -> Iterator[Callable[[], None]]:
    """Another connection is SQLite's one writer, until the function is called; this connection
    waits for its turn a moment only."""
    begun, release = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            Job.objects.filter(pk=0).update(priority=0)
            begun.set()
            assert release.wait(DEADLINE)

    with beside(write) as writer, ExitStack() as stack:
        stack.callback(release.set)
        assert begun.wait(DEADLINE)
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 10")
        stack.callback(connection.close)  # the next one is patient again

        def stop_writing() -> None:
            release.set()
            writer.result(DEADLINE)

        yield stop_writing


@contextmanager
def writing_between(start: str, first: int, last: int) -> Iterator[None]:
    """Another connection is SQLite's one writer from the first to the last of these statements."""
    with ExitStack() as stack:
        stop: list[Callable[[], None]] = []

        def begin() -> None:
            stop.append(stack.enter_context(writing()))

        end = before_statement(start, last, lambda: stop[0]())
        with before_statement(start, first, begin), end:
            yield
