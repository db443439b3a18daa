"""What a child does with its parent's connections: nothing that the parent or a server sees."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.db import connection

from django_async import forking, worker
from django_async.forking import close_connections
from forkpool import ForkPool

ON_SQLITE = connection.vendor == "sqlite"

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(ON_SQLITE, reason="SQLite has files, which the parent closes"),
]

SESSION = {"postgresql": "SELECT PG_BACKEND_PID()", "mysql": "SELECT CONNECTION_ID()"}


@pytest.fixture
def pool() -> Iterator[ForkPool]:
    """One whose parent keeps its session, and in which each task has a child of its own."""
    connection.ensure_connection()
    needed = partial(close_connections, ["default"])
    with ForkPool(1, initializer=worker.begin, before_fork=needed, max_tasks_per_child=1) as pool:
        yield pool


def run(pool: ForkPool, function: Callable[..., Any], *args: Any) -> Any:
    """What a task returns."""
    while not pool.idle:
        assert pool.wait(30) == []
    pool.submit(function, *args)
    [ended] = pool.wait(30)
    assert ended.error is None
    return ended.value


def session() -> int:
    """The server's number of this process's session."""
    with connection.cursor() as cursor:
        cursor.execute(SESSION[connection.vendor])
        return int(cursor.fetchone()[0])


def open_files() -> list[str]:
    """What the descriptors of this process stand for."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the folder itself
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return found


def end_what_was_inherited() -> int:
    """As an interpreter that ends might do it."""
    ended = len(forking._kept)
    for kept in forking._kept:
        kept.close()
    forking._kept.clear()
    gc.unfreeze()
    gc.collect()
    return ended


def test_no_child_has_the_socket_of_its_parents_session(pool: ForkPool) -> None:
    socket = os.readlink(f"/proc/self/fd/{connection.connection.fileno()}")
    assert socket in open_files()
    for _ in range(3):
        assert socket not in run(pool, open_files)


def test_the_parents_session_outlasts_whatever_becomes_of_the_childs_copy(pool: ForkPool) -> None:
    mine = session()
    for _ in range(3):
        assert run(pool, end_what_was_inherited) == 1
        assert session() == mine


def test_each_child_has_a_session_of_its_own(pool: ForkPool) -> None:
    numbers = [session(), *(run(pool, session) for _ in range(3)), session()]
    assert numbers[0] == numbers[-1]
    assert len(set(numbers)) == 4


@pytest.mark.parametrize("what", ["another database", "a pool", "no descriptor", "can let go"])
def test_before_a_fork_whatever_a_child_could_not_let_go_of_is_closed(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    closed: list[str] = []
    connection.ensure_connection()
    monkeypatch.setattr(connection, "close", lambda: closed.append(what))
    monkeypatch.setattr(connection, "close_pool", lambda: None, raising=False)
    if what == "a pool":
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "pool", True)
    if what == "no descriptor":
        monkeypatch.setattr(forking, "_socket", lambda _: None)
    close_connections([] if what == "another database" else ["default"])
    assert closed == ([] if what == "can let go" else [what])
