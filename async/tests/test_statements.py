"""How many statements it takes, and calls: figures of time differ by machine, these do not.

What is counted is every round trip that Django sees, BEGIN and COMMIT with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_async import fetch, plans, schedule
from django_async.api import schedule_many
from django_async.hints import Hint
from django_async.outcomes import Executed
from django_async.outlook import outlook
from django_async.runner import run_job
from suite.jobs import note, nothing
from suite.models import Account

# What is sent at a commit counts as well.
pytestmark = pytest.mark.django_db(transaction=True)

PAGE = 10


def statements(work: Callable[[], Any]) -> list[str]:
    """The first words of what this sends."""
    connection.ensure_connection()
    with CaptureQueriesContext(connection) as captured:
        work()
    return [query["sql"].split()[0] for query in captured]


def wake() -> list[str]:
    """What a commit sends where services listen."""
    return ["SELECT"] if connection.vendor == "postgresql" else []


def test_schedule_is_one_insert() -> None:
    assert statements(lambda: schedule(nothing)) == ["INSERT", *wake()]


def test_for_a_time_from_now_the_servers_clock_is_read() -> None:
    clock = ["SELECT"] if connection.vendor != "sqlite" else []
    later = timedelta(hours=1)
    assert statements(lambda: schedule(nothing, run_after=later)) == [*clock, "INSERT", *wake()]


def test_inside_a_transaction_each_is_one_insert_and_all_wake_once() -> None:
    def three() -> None:
        with transaction.atomic():
            for _ in range(3):
                schedule(nothing)

    assert statements(three) == ["BEGIN", *["INSERT"] * 3, "COMMIT", *wake()]


@pytest.mark.parametrize("number", [1, 5_000])
def test_schedule_many_is_one_insert_however_many(number: int) -> None:
    insert = {
        "postgresql": ["SAVEPOINT", "SELECT", "INSERT", "RELEASE"],  # the ids come first
        "mysql": ["SAVEPOINT", "SELECT", "INSERT", "RELEASE"],  # as does the size of a packet
        "sqlite": ["UPDATE", "SAVEPOINT", "INSERT", "SELECT", "RELEASE"],  # its turn to write
    }[connection.vendor]
    if connection.vendor == "mysql" and not connection.features.can_return_rows_from_bulk_insert:
        insert.insert(3, "SELECT")  # MySQL tells the ids afterwards
    sent = statements(lambda: schedule_many({"function": nothing} for _ in range(number)))
    assert sent == ["BEGIN", *insert, "COMMIT", *wake()]


ON_POSTGRESQL = connection.vendor == "postgresql"


def test_the_fetch_of_an_empty_queue_is_one_statement() -> None:
    assert statements(lambda: page(None)) == ["WITH" if ON_POSTGRESQL else "SELECT"]


@pytest.mark.parametrize("waiting", [PAGE, 50 * PAGE])
def test_a_page_is_a_probe_and_the_reads_of_a_priority(waiting: int) -> None:
    """However many wait, are done or lie in the future. On PostgreSQL it is one statement."""
    schedule_many({"function": nothing} for _ in range(waiting))
    schedule_many({"function": nothing, "run_after": timedelta(hours=1)} for _ in range(waiting))
    assert len(page(None)) == PAGE
    assert statements(lambda: page(None)) == (["WITH"] if ON_POSTGRESQL else ["SELECT"] * 3)


def test_the_next_page_reads_on() -> None:
    schedule_many({"function": nothing} for _ in range(3 * PAGE))
    first = page(None)
    assert statements(lambda: page(first[-1])) == ["SELECT"]


def test_each_further_priority_is_a_probe_and_two_reads() -> None:
    schedule_many({"function": nothing, "priority": number} for number in range(PAGE))
    each = ["WITH"] if ON_POSTGRESQL else ["SELECT"] * (3 * PAGE)
    assert statements(lambda: page(None)) == each


def test_a_pass_reads_its_bounds_in_one_statement() -> None:
    assert statements(lambda: fetch.bounds("default")) == ["SELECT"]


def test_what_is_to_be_expected_is_one_statement() -> None:
    schedule_many({"function": nothing, "priority": number} for number in range(PAGE))
    assert statements(lambda: outlook("default")) == ["WITH"]


@pytest.mark.parametrize("priorities", [0, 1, PAGE])
def test_a_glance_is_one_statement_for_new_jobs_and_one_for_those_whose_time_has_come(
    priorities: int,
) -> None:
    schedule_many({"function": nothing} for _ in range(PAGE))
    reads = fetch.Fetch("default", None, fetch.Selection())
    seen = fetch.bounds("default")
    sent = statements(lambda: reads.since(seen, range(priorities), PAGE))
    assert sent == ["SELECT"] * (2 if priorities else 1)


def page(after: Hint | None) -> list[Hint]:
    return fetch.Fetch("default", None, fetch.Selection()).page(after, PAGE)


def calls(work: Callable[[], Any]) -> int:
    """How many functions are called meanwhile, of Python and of C."""
    found = 0

    def count(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


@pytest.fixture
def prepares(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a worker, this process prepares statements; and it has no use for OpenTelemetry, which the
    tests of traces load."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    plans.begin()
    yield
    plans.give_up()


@pytest.mark.skipif(not ON_POSTGRESQL, reason="elsewhere its statements go through cursors")
@pytest.mark.usefixtures("prepares")
def test_an_attempt_takes_fewer_calls_than_the_job_with_one_update_in_atomic() -> None:
    account = Account.objects.create(name="marked")

    def attempt() -> None:
        job = hints.pop()
        assert isinstance(run_job(job, "default", "token"), Executed)

    def bare() -> None:
        with transaction.atomic():
            note("bare")
            Account.objects.filter(pk=account.pk).update(balance=1)

    for _ in range(3):
        schedule(note, ["queued"])
    hints = page(None)
    for _ in range(2):  # what is prepared after the first one is looked up by the second one
        attempt()
        plans.prepare("default")
    bare()
    assert calls(attempt) < 0.9 * calls(bare)
