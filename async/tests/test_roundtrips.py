"""How a job's transaction travels: what it costs in messages, and when which form is taken.

That both forms keep the same promises is in test_transaction.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from django_async import roundtrips, schedule
from django_async.errors import JobRowGone
from django_async.models import Job
from suite import abuse, jobs, programs
from suite.spying import each_statement

ON_POSTGRES, ON_MYSQL = connection.vendor == "postgresql", connection.vendor == "mysql"

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not (ON_POSTGRES or ON_MYSQL), reason="there is no way to go"),
]
of_postgresql = pytest.mark.skipif(not ON_POSTGRES, reason="of PostgreSQL's driver")
of_mysql = pytest.mark.skipif(not ON_MYSQL, reason="of mysqlclient")

MESSAGES_OF_MYSQLCLIENT = ("query", "autocommit", "commit", "rollback")

COALESCED = roundtrips.OnPostgreSQL if ON_POSTGRES else roundtrips.OnMySQL


@pytest.fixture
def messages(tmp_path: Path) -> Callable[[Callable[[], object]], list[str]]:
    """What a call sends to the server: libpq writes it down, and mysqlclient is looked at."""

    def sent_by(call: Callable[[], object]) -> list[str]:
        return by_libpq(call, tmp_path / "trace") if ON_POSTGRES else by_mysqlclient(call)

    return sent_by


def by_libpq(call: Callable[[], object], file: Path) -> list[str]:
    libpq = connection.connection.pgconn
    with file.open("w+") as trace:
        libpq.trace(trace.fileno())
        try:
            call()
        finally:
            libpq.untrace()
        trace.seek(0)
        lines = [line.split("\t") for line in trace.read().splitlines()]
    return [line[4].strip(' "') for line in lines if line[1:2] == ["F"] and line[3] == "Query"]


def by_mysqlclient(call: Callable[[], object]) -> list[str]:
    """Some messages have methods of their own, which take no statement."""
    session, sent = connection.connection, list[str]()

    def spied(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def send(*args: Any) -> Any:
            sent.append(args[0].decode() if name == "query" else name.upper())
            return method(*args)

        return send

    methods = {name: getattr(session, name) for name in MESSAGES_OF_MYSQLCLIENT}
    for name, method in methods.items():
        setattr(session, name, spied(name, method))
    try:
        call()
    finally:
        for name, method in methods.items():
            setattr(session, name, method)
    return sent


def test_a_job_costs_two_messages_and_its_own(
    messages: Callable[[Callable[[], object]], list[str]],
) -> None:
    sent = messages(schedule(jobs.note).execute)
    begin, insert, end = sent[:3]
    assert begin.startswith(f"{COALESCED.begin}; SELECT name")
    assert begin.endswith("SAVEPOINT django_async_job")
    assert insert.startswith("INSERT INTO")
    assert end.startswith("RELEASE SAVEPOINT django_async_job; ")
    assert end.count("UPDATE async_job") == 1
    assert end.endswith("COMMIT" if ON_POSTGRES else "COMMIT; SET autocommit = 1")
    assert [message.split()[0] for message in sent[3:]] == ["SELECT"]  # execute() reads the job


@of_mysql
def test_a_session_that_takes_one_statement_at_a_time_gets_them_one_by_one() -> None:
    with connected(OPTIONS={"multi_statements": False}):
        assert form() is roundtrips.OneByOne
        job = schedule(jobs.note)
        job.execute()
        assert job.state == "executed"


@of_mysql
@pytest.mark.parametrize("mode", ["", "TRADITIONAL", "ANSI,NO_BACKSLASH_ESCAPES"])
def test_a_mark_that_meets_no_row_keeps_the_effects_back_in_every_mode(mode: str) -> None:
    """The number that is out of its range is an error then, too."""
    with connected(OPTIONS={"sql_mode": mode}):
        job = schedule(abuse.delete_itself)
        with pytest.raises(JobRowGone):
            job.execute()
        assert Job.objects.get(pk=job.pk).errors.count() == 1


def test_one_by_one_each_statement_is_a_message(
    messages: Callable[[Callable[[], object]], list[str]], settings: Any
) -> None:
    settings.ASYNC = {"COALESCE": False}
    sent = messages(schedule(jobs.note).execute)
    verbs = " ".join(message.split()[0] for message in sent)
    inner = "SELECT SAVEPOINT INSERT RELEASE UPDATE COMMIT"
    if ON_POSTGRES:
        assert verbs == f"BEGIN {inner} SELECT"
    else:
        assert verbs == f"AUTOCOMMIT {inner} AUTOCOMMIT SELECT"


@of_postgresql
def test_a_job_that_has_gone_costs_one_message_and_its_rollback(
    messages: Callable[[Callable[[], object]], list[str]], flush: Callable[..., Any]
) -> None:
    job = schedule(jobs.note)
    Job.objects.filter(pk=job.pk).delete()

    def attempt() -> None:
        with pytest.raises(Job.DoesNotExist):
            job.execute()

    verbs = [message.split()[0] for message in messages(attempt)]
    assert verbs == ["BEGIN;", "SELECT", "ROLLBACK", "SELECT"]


@contextmanager
def connected(**settings: Any) -> Iterator[None]:
    """Within the block, the connection was made with these settings."""
    before = connection.settings_dict.copy()
    connection.close()
    options = {**before["OPTIONS"], **settings.pop("OPTIONS", {})}
    connection.settings_dict.update(settings, OPTIONS=options)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


def form() -> type[roundtrips.OneByOne]:
    connection.ensure_connection()
    return type(roundtrips.form_for(connection))


def test_by_default_it_is_coalesced() -> None:
    assert form() is COALESCED


@of_postgresql
@pytest.mark.parametrize("options", [{}, {"server_side_binding": True}])
def test_it_is_coalesced_whoever_binds_the_parameters(options: dict[str, Any]) -> None:
    with connected(OPTIONS=options):
        assert form() is COALESCED
        job = schedule(jobs.note)
        job.execute()
        assert job.state == "executed"


@of_postgresql
def test_where_begin_has_options_statements_go_one_by_one() -> None:
    with connected(OPTIONS={"isolation_level": 2}):
        assert form() is roundtrips.OneByOne
        job = schedule(jobs.note)
        job.execute()
        assert job.state == "executed"


def test_a_session_that_is_to_be_checked_first_is_left_to_django() -> None:
    """As with CONN_HEALTH_CHECKS after close_old_connections(), which a job may call."""
    with connected(CONN_HEALTH_CHECKS=True, CONN_MAX_AGE=None):
        job = schedule(jobs.note)
        connection.close_if_unusable_or_obsolete()
        assert form() is roundtrips.OneByOne
        job.execute()
        assert job.state == "executed"
        assert form() is COALESCED


def test_who_looks_at_statements_sees_each(settings: Any) -> None:
    seen: list[str] = []
    job = schedule(jobs.note)
    with each_statement(lambda sql, _: seen.append(sql.split()[0])):
        job.execute()
    assert seen == ["SELECT", "SAVEPOINT", "INSERT", "RELEASE", "UPDATE", "SELECT"]
    settings.DEBUG = True
    assert form() is roundtrips.OneByOne


def test_what_a_worker_looks_for_itself_does_not_count(flush: Callable[..., Any]) -> None:
    job = schedule(jobs.savepoints)
    flush(workers=1)
    job.refresh_from_db()
    assert json.loads(job.result) == [roundtrips.SAVEPOINT]


TEXTS = ["it's", 'a "name"', "back\\slash", "100 % and %s and %(name)s", "$1", "ä→𝄞", "; COMMIT --"]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back_as_it_was(text: str) -> None:
    job = schedule(programs.echo, [text])
    job.execute()
    assert json.loads(Job.objects.get(pk=job.pk).result) == [[text], {}]


def test_a_long_result_comes_back_as_it_was() -> None:
    """Longer than what a socket takes at once; MariaDB takes 16 MB in a message."""
    text = "x" * (20_000_000 if ON_POSTGRES else 12_000_000)
    job = schedule(programs.echo, [text])
    job.execute()
    assert json.loads(Job.objects.get(pk=job.pk).result) == [[text], {}]


@of_postgresql
@pytest.mark.parametrize("setting", ["DateStyle = 'SQL, DMY'", "TimeZone = 'Asia/Kathmandu'"])
def test_a_job_may_set_how_moments_are_written(setting: str, flush: Callable[..., Any]) -> None:
    job = schedule(abuse.change_setting, [setting])
    flush(workers=1)
    job.refresh_from_db()
    assert job.executed
    assert job.started
    assert job.added <= job.started <= job.executed


@pytest.mark.django_db(transaction=False)
def test_within_a_test_case_statements_go_one_by_one() -> None:
    assert form() is roundtrips.OneByOne


def test_within_somebody_elses_transaction_statements_go_one_by_one() -> None:
    connections["default"].set_autocommit(False)
    try:
        assert form() is roundtrips.OneByOne
    finally:
        connections["default"].rollback()
        connections["default"].set_autocommit(True)
