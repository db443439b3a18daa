"""What becomes of a parent's connections when it forks: nothing that it or a server sees."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_async import forking, worker
from django_async.api import schedule_many
from django_async.forking import set_aside, take_up
from django_async.models import Error, Job
from forkpool import ForkPool
from suite.jobs import note

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked"),
]
has_sessions = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has files, which the parent closes"
)

COULD_NOT = ["another database", "a pool", "no descriptor", "a transaction"]
SESSION = {"postgresql": "SELECT PG_BACKEND_PID()", "mysql": "SELECT CONNECTION_ID()"}


@pytest.fixture
def pool() -> Iterator[ForkPool]:
    """One whose parent keeps its session, and in which each task has a child of its own."""
    connection.ensure_connection()
    with ForkPool(
        1,
        initializer=worker.begin,
        before_fork=partial(set_aside, ["default"]),
        after_fork=take_up,
        max_tasks_per_child=1,
    ) as pool:
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


@has_sessions
def test_no_child_has_the_socket_of_its_parents_session(pool: ForkPool) -> None:
    socket = os.readlink(f"/proc/self/fd/{connection.connection.fileno()}")
    assert socket in open_files()
    for _ in range(3):
        assert socket not in run(pool, open_files)


@has_sessions
def test_the_parents_session_outlasts_whatever_becomes_of_the_childs_copy(pool: ForkPool) -> None:
    mine = session()
    for _ in range(3):
        assert run(pool, end_what_was_inherited) == 1
        assert session() == mine


@has_sessions
def test_each_child_has_a_session_of_its_own(pool: ForkPool) -> None:
    numbers = [session(), *(run(pool, session) for _ in range(3)), session()]
    assert numbers[0] == numbers[-1]
    assert len(set(numbers)) == 4


def has_session() -> bool:
    return connection.connection is not None


@has_sessions
def test_a_child_has_its_session_before_its_first_job(pool: ForkPool) -> None:
    assert run(pool, has_session)


@has_sessions
def test_a_child_whose_parent_has_no_session_connects_when_a_job_needs_it(pool: ForkPool) -> None:
    while not pool.idle:
        assert pool.wait(30) == []
    connection.close()
    pool.submit(os.getpid)  # the next child is forked meanwhile
    pool.wait(30)
    assert not run(pool, has_session)
    assert run(pool, session)


@has_sessions
def test_a_child_that_cannot_connect_begins_all_the_same(
    pool: ForkPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_params: object) -> None:
        raise OperationalError("too many clients")

    monkeypatch.setattr(connection, "get_new_connection", refuse)  # of those that are to come
    run(pool, os.getpid)
    assert not run(pool, has_session)


@has_sessions
@pytest.mark.parametrize("what", [*COULD_NOT, "can let go"])
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
    before = connection.connection
    with transaction.atomic() if what == "a transaction" else nullcontext():
        set_aside([] if what == "another database" else ["default"])
        found = connection.connection
        take_up()
    assert connection.connection is before
    assert found is (None if what == "can let go" else before)
    assert what == "can let go" or closed == [what]


@has_sessions
def test_what_a_hook_of_the_projects_opens_in_the_parent_is_closed() -> None:
    connection.ensure_connection()
    mine = session()
    set_aside(["default"])
    assert session() != mine
    another = connection.connection
    take_up()
    assert session() == mine
    assert forking._socket(another) is None


_closes: list[bool] = []
"""Whether the hook does what it is there for: it cannot be taken back."""


def _close_all() -> None:
    if _closes:
        connections.close_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)


@pytest.fixture
def closes() -> Iterator[None]:
    """A project has each child close all connections, as the documentation of others advises."""
    _closes.append(True)
    yield
    _closes.clear()


def test_a_project_may_have_each_child_close_all_connections(
    closes: None, flush: Callable[..., Any]
) -> None:
    connection.ensure_connection()
    before = connection.connection
    schedule_many({"function": note} for _ in range(6))
    assert flush(workers=2, max_jobs_per_worker=1).status == 0
    assert (connection.connection is before) is (connection.vendor != "sqlite")
    assert list(Job.objects.values_list("attempts", flat=True)) == [1] * 6
    assert Job.objects.executed().count() == 6
    assert not Error.objects.exists()
