"""Nothing that a job does to its worker's process is met by the next one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection

from django_async import schedule, trouble, workplace
from django_async.models import Job
from suite import jobs, leaks
from suite.models import Note

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]

ON_POSTGRESQL = connection.vendor == "postgresql"
ON_MYSQL = connection.vendor == "mysql"


def see_before_and_after(flush: Flush, leak: Callable[..., Any]) -> tuple[Any, Any]:
    """What one worker looks like to a job before and to a job after one that leaks."""
    before = schedule(leaks.look, priority=9)
    leaking = schedule(leak, priority=8)
    after = schedule(leaks.look, priority=7)
    flushed = flush(workers=1, keep_going=True)
    assert flushed.output.startswith("3 executed, 0 failed"), flushed.error
    assert Job.objects.get(pk=leaking.pk).state == "executed"
    return tuple(json.loads(Job.objects.get(pk=job.pk).result) for job in (before, after))


PROCESS = [
    leaks.activate_language,
    leaks.activate_zone,
    leaks.change_directory,
    leaks.remove_directory,
    leaks.change_umask,
    leaks.change_signals,
    leaks.block_signals,
    leaks.set_context_variable,
    leaks.keep_alarm,
]


@pytest.mark.parametrize("leak", PROCESS)
def test_the_process_is_as_before(flush: Flush, leak: Callable[..., Any]) -> None:
    before, after = see_before_and_after(flush, leak)
    assert before == after


def test_a_leak_is_seen_by_the_look_that_finds_none() -> None:
    """Or else the test above would prove nothing."""
    for leak in PROCESS:
        assert leaks.changes_the_look(leak), leak


@pytest.mark.parametrize("leak", [leaks.activate_language, leaks.activate_zone])
def test_the_locale_is_as_before_where_it_is_the_threads_and_not_the_contexts(
    flush: Flush, leak: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.utils.timezone._active", threading.local())
    monkeypatch.setattr("django.utils.translation.trans_real._active", threading.local())
    assert workplace._locale_leaks()
    before, after = see_before_and_after(flush, leak)
    assert before == after


def test_handlers_that_python_does_not_know_of_are_left_alone(flush: Flush) -> None:
    schedule(leaks.register_faulthandler, priority=9)
    schedule(leaks.send_the_registered_signal)
    assert flush(workers=1, keep_going=True).output.startswith("2 executed, 0 failed")


SESSION = {
    "postgresql": [
        "SET statement_timeout = '1h'",
        "SET SESSION search_path = pg_catalog, public",
        "SELECT set_config('lock_timeout', '1h', false)",
        "SELECT pg_advisory_lock(4711)",
        "SELECT pg_try_advisory_lock_shared(4711)",
        "LISTEN something",
        "CREATE TEMP TABLE leak (id int)",
        "create temporary table leak (id int)",
        "PREPARE leak AS SELECT 1",
        "/* why */ SET statement_timeout = '1h'",
        "-- why\nSET statement_timeout = '1h'",
        "RESET statement_timeout",
        "SELECT 1 AS id INTO TEMP leak",
        "UPDATE pg_settings SET setting = '4711' WHERE name = 'lock_timeout'",
    ],
    "mysql": [
        "SET SESSION lock_wait_timeout = 4711",
        "SET @leak = 1",
        "SELECT GET_LOCK('leak', 0)",
        "SELECT RELEASE_ALL_LOCKS()",
        "CREATE TEMPORARY TABLE leak (id int)",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET LOCAL lock_wait_timeout = 4711",
    ],
    "sqlite": ["PRAGMA cache_size = 4711", "CREATE TEMP TABLE leak (id int)"],
}[connection.vendor]


def sessions_of_two(flush: Flush, leak: Callable[[str], int], sql: str) -> list[int]:
    """Those of two jobs of one worker, each of which executes the statement."""
    for _ in range(2):
        schedule(leak, [sql])
    assert flush(workers=1).status == 0
    return [json.loads(result) for result in Job.objects.values_list("result", flat=True)]


@pytest.mark.parametrize("sql", SESSION)
def test_a_sessions_setting_lock_or_table_goes_with_the_session(flush: Flush, sql: str) -> None:
    first, second = sessions_of_two(flush, leaks.execute_and_tell_session, sql)
    assert first != second


@pytest.mark.skipif(
    not trouble.is_psycopg3(connection), reason="only psycopg 3 composes such statements"
)
def test_a_setting_that_was_composed_goes_with_the_session_too(flush: Flush) -> None:
    first, second = sessions_of_two(
        flush, leaks.compose_and_tell_session, "SET statement_timeout = '1h'"
    )
    assert first != second


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no sessions")
def test_a_session_in_which_no_job_can_be_claimed_is_given_up(flush: Flush) -> None:
    """A job has changed it behind Django's back: that is no failure of the next one."""
    off = "SET default_transaction_read_only = on" if ON_POSTGRESQL else "SET tx_read_only = 1"
    schedule(leaks.execute_past_django, [off], priority=9)
    schedule(jobs.note)
    assert flush(workers=1).output.startswith("2 executed, 0 failed")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not ON_POSTGRESQL, reason="one database's statement is enough")
def test_the_session_of_who_executes_a_job_by_hand_is_not_given_up() -> None:
    job, session = schedule(jobs.note), connection.connection
    leaks.execute_past_django("SET default_transaction_read_only = on")
    try:
        with pytest.raises(DatabaseError, match="read-only"):
            job.execute()
        assert connection.connection is session
    finally:
        leaks.execute_past_django("SET default_transaction_read_only = off")


@pytest.fixture
def djangos_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sessions come from a pool of Django's, which has one."""
    connection.close()
    with monkeypatch.context() as patch:
        pool = {"min_size": 1, "max_size": 1}
        patch.setitem(connection.settings_dict["OPTIONS"], "pool", pool)
        yield
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("djangos_pool")
@pytest.mark.skipif(
    not hasattr(connection, "close_pool"), reason="a pool is PostgreSQL's, from Django 5.1 on"
)
def test_a_pool_of_djangos_does_not_get_back_what_a_job_has_changed(flush: Flush) -> None:
    first, second = sessions_of_two(
        flush, leaks.execute_and_tell_session, "SET statement_timeout = '1h'"
    )
    assert first != second


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE suite_note SET text = 'SET nothing'",
        "SELECT 'pg_advisor'",
        *(["SET LOCAL statement_timeout = '1h'"] * ON_POSTGRESQL),
        *(["SELECT pg_advisory_xact_lock(4711)"] * ON_POSTGRESQL),
        *(["SET CONSTRAINTS ALL DEFERRED"] * ON_POSTGRESQL),
    ],
)
def test_other_statements_leave_the_session_open(flush: Flush, sql: str) -> None:
    first, second = sessions_of_two(flush, leaks.execute_and_tell_session, sql)
    assert first == second


def test_a_long_statement_is_looked_at_too() -> None:
    long = f"SELECT {'1, ' * 2000} 1"
    assert not workplace._is_of_the_session(long, connection.vendor)
    assert workplace._is_of_the_session(f"{long}; SET a = 1", connection.vendor)


def test_a_table_whose_name_begins_like_a_word_is_no_temporary_one() -> None:
    sql = "INSERT INTO temperature VALUES (1)"
    assert not workplace._is_of_the_session(sql, connection.vendor)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_transaction_that_was_left_open_elsewhere_is_rolled_back(flush: Flush) -> None:
    schedule(leaks.leave_transaction_open, ["other"], priority=9)
    schedule(leaks.write, ["other"])
    assert flush(workers=1, keep_going=True).output.startswith("2 executed, 0 failed")
    assert set(Note.objects.using("other").values_list("text", flat=True)) == {"written"}


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_what_a_job_writes_elsewhere_is_committed_though_another_one_left_autocommit_off(
    flush: Flush,
) -> None:
    schedule(leaks.set_autocommit_off, ["other"], priority=9)
    schedule(leaks.write, ["other"])
    assert flush(workers=1, keep_going=True).output.startswith("2 executed, 0 failed")
    texts = set(Note.objects.using("other").values_list("text", flat=True))
    assert texts == {"committed", "written"}


def test_caches_are_closed_as_at_the_end_of_a_request(flush: Flush) -> None:
    schedule(leaks.use_cache, priority=9)
    schedule(leaks.count_closed_caches)
    assert flush(workers=1).status == 0
    assert json.loads(Job.objects.get(name__endswith="count_closed_caches").result) == 1


def test_the_queries_that_debug_keeps_are_forgotten(flush: Flush, settings: Any) -> None:
    settings.DEBUG = True
    for _ in range(3):
        schedule(leaks.count_queries)
    assert flush(workers=1).status == 0
    results = [json.loads(result) for result in Job.objects.values_list("result", flat=True)]
    assert len(set(results[1:])) == 1
    assert results[1] < 10
