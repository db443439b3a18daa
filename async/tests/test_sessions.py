"""What a worker's session is known by, and what both of its ends are told about silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections

from django_async import schedule, sessions
from django_async.hints import Hint
from django_async.inquest import Inquest
from django_async.models import Job
from django_async.parents import Registration
from forkpool import TaskTimeout, WorkerDied
from suite import abuse
from suite.together import alive, elsewhere, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no sessions"),
]

only_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="MariaDB and MySQL have no such settings"
)

Flush = Callable[..., Any]
Told = tuple[str, int, str]

LISTED = {
    "postgresql": "SELECT 1 FROM pg_stat_activity WHERE pid = %s",
    "mysql": "SELECT 1 FROM information_schema.processlist WHERE id = %s",
}
WATCH = {
    "client_connection_check_interval": "100ms",
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
WAITS = {
    "connect_timeout": "10",
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


@contextmanager
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Within the block, a session such as a worker's, as its parent is told of it."""
    told: list[list[Told]] = []
    monkeypatch.setattr(sessions, "tell_parent", told.append)

    def begin() -> None:
        connection.ensure_connection()
        sessions.announce(connections["default"])

    with alive(begin):
        yield told[-1][-1]


def is_listed(number: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(LISTED[connection.vendor], [number])
        return cursor.fetchone() is not None


def test_the_session_of_a_dead_worker_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with session(monkeypatch) as told:
        assert is_listed(told[1])
        sessions.end_all([told])
        wait_until(lambda: not is_listed(told[1]), "the end of the session")


def test_who_has_got_its_number_after_a_restart_of_the_server_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with session(monkeypatch) as earlier:
        sessions.end_all([earlier])
        wait_until(lambda: not is_listed(earlier[1]), "the end of the session")
    with session(monkeypatch) as later:
        sessions.end_all([(later[0], later[1], earlier[2])])
        assert is_listed(later[1])


def test_a_session_that_has_ended_by_itself_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with session(monkeypatch) as told:
        pass
    wait_until(lambda: not is_listed(told[1]), "the end of the session")
    sessions.end_all([told])
    assert not caplog.records


def settings_of_the_session() -> dict[str, str]:
    return {name: abuse.read_setting(name) for name in WATCH}


@only_postgresql
def test_the_server_is_to_notice_within_10_seconds_that_a_workers_host_is_gone(
    flush: Flush,
) -> None:
    for name in WATCH:
        schedule(abuse.read_setting, [name])
    assert flush(workers=1).status == 0
    found = map(json.loads, Job.objects.order_by("pk").values_list("result", flat=True))
    assert dict(zip(WATCH, found, strict=True)) == WATCH


@only_postgresql
def test_and_that_a_parents_host_is_gone() -> None:
    def register() -> dict[str, str]:
        parent = Registration("default")
        parent.register()
        parent.withdraw()
        return settings_of_the_session()

    assert elsewhere(register) == WATCH


@only_postgresql
def test_a_server_that_cannot_tell_within_a_statement_still_watches_the_connection() -> None:
    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if params and "100ms" in params:
            sql, params = "SELECT set_config('client_connection_check_interval', 'no', false)", None
        return execute(sql, params, many, context)

    def watch() -> dict[str, str]:
        connection.ensure_connection()
        with connection.execute_wrapper(refuse):
            sessions.watch_client(connection)
        return settings_of_the_session()

    assert elsewhere(watch) == {**WATCH, "client_connection_check_interval": "0"}


@only_postgresql
def test_a_worker_is_to_notice_by_itself_that_the_servers_host_is_gone(flush: Flush) -> None:
    job = schedule(abuse.read_client_parameters)
    assert flush(workers=1).status == 0
    job.refresh_from_db()
    assert WAITS.items() <= json.loads(job.result).items()
    assert not WAITS.keys() & connection.settings_dict["OPTIONS"].keys()


@only_postgresql
def test_what_the_options_of_the_database_say_about_it_stays(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"keepalives_idle": 77, "tcp_user_timeout": 7_000}
    for name, value in own.items():
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], name, value)
    job = schedule(abuse.read_client_parameters)
    assert flush(workers=1).status == 0
    job.refresh_from_db()
    found = json.loads(job.result)
    assert (found["keepalives_idle"], found["tcp_user_timeout"]) == ("77", "7000")
    assert found["keepalives_count"] == WAITS["keepalives_count"]
    assert own.items() <= connection.settings_dict["OPTIONS"].items()


def test_two_databases_with_the_same_options_get_theirs_back() -> None:
    both = [connections[alias] for alias in ("default", "other")]
    before = [dict(one.settings_dict["OPTIONS"]) for one in both]
    with sessions.bounded_waits(both[0], 5), sessions.bounded_waits(both[1], 5):
        pass
    assert [one.settings_dict["OPTIONS"] for one in both] == before


def test_a_silent_database_is_waited_for_once_however_many_workers_have_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The jobs of other databases wait meanwhile."""
    asked = []

    def be_silent(number: int, *_: object) -> None:
        asked.append(number)
        raise TaskTimeout(1.0)

    monkeypatch.setattr(sessions, "_end", be_silent)
    inquest = Inquest("default", lambda: 0.0)
    for number in range(3):
        death = WorkerDied(1, -9, [("other", number, "mark")])
        inquest.add_death(Hint(number + 1, 0, 5, None, None), death, 0.0)
    list(inquest.look())
    assert len(asked) == 1
