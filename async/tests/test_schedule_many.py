"""schedule_many(): one statement or a few, however many jobs; all of them or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_async import schedule
from django_async.api import schedule_many
from django_async.errors import FunctionNotAllowed, UnknownFunction
from django_async.models import Group, Job
from suite import calls
from suite.jobs import note, nothing
from suite.models import Note
from suite.together import before_first_write, elsewhere

pytestmark = pytest.mark.django_db

MOMENT = datetime(2031, 7, 1, 12, 30, 15, 123456, tzinfo=UTC)

EACH_KIND: list[dict[str, Any]] = [
    {"function": nothing},
    {"function": "suite.jobs.nothing", "args": [1, 'it\'s "so" \\ % {} \n', None, [True, 2.5]]},
    {"function": nothing, "args": ("Größe 東京 😀",), "kwargs": {"straße": {"a": []}}},
    {"function": nothing, "run_after": MOMENT},
    {"function": nothing, "run_after": timedelta(days=2)},
    {"function": nothing, "priority": -(2**31), "queue": "mail"},
    {"function": nothing, "meta": {"max_attempts": 3, "asked by": "Zoë"}},
    {"function": calls.Clerk.of_class, "args": ["x"]},
    {"function": nothing, "args": [2**70, "\0"]},
]


def many(number: int, **more: Any) -> Iterator[dict[str, Any]]:
    """So many calls, each with its number."""
    return ({"function": note, "args": [n], **more} for n in range(number))


def columns(job: Job) -> dict[str, Any]:
    """What the database holds of a job, apart from its id and its stamps."""
    [row] = Job.objects.filter(pk=job.pk).values()
    return {key: value for key, value in row.items() if key not in ("id", "added", "scheduled")}


def test_each_is_what_schedule_makes_of_it() -> None:
    for job, keywords in zip(schedule_many(EACH_KIND), EACH_KIND, strict=True):
        single = schedule(**keywords)
        assert columns(job) == columns(single)
        stored, other = Job.objects.get(pk=job.pk), Job.objects.get(pk=single.pk)
        assert abs(stored.added - other.added) < timedelta(minutes=1)
        assert (stored.scheduled is None) is (other.scheduled is None)
        if stored.scheduled and other.scheduled:
            assert abs(stored.scheduled - other.scheduled) < timedelta(minutes=1)


def test_the_jobs_returned_are_as_stored() -> None:
    for job in schedule_many(EACH_KIND):
        stored = Job.objects.get(pk=job.pk)
        assert columns(stored) == {key: getattr(job, key) for key in columns(stored)}
        assert (stored.added, stored.scheduled) == (job.added, job.scheduled)


@pytest.mark.parametrize("number", [1, 7, 2_500])
def test_ids_are_right_and_ascend_as_given(number: int) -> None:
    jobs = schedule_many(many(number))
    stored = Job.objects.order_by("pk").values_list("pk", "args")
    assert [(job.pk, job.args) for job in jobs] == list(stored)
    assert [json.loads(args) for _, args in stored] == [[n] for n in range(number)]


@pytest.mark.parametrize("priority", [-(2**31), -1, 2**31 - 1])
def test_what_all_jobs_share_is_stored_as_that_of_one(priority: int) -> None:
    for number in (1, 2):
        jobs = schedule_many([{"function": note, "priority": priority}] * number)
        ids = [job.pk for job in jobs]
        stored = Job.objects.filter(pk__in=ids).values_list("priority", flat=True)
        assert list(stored) == [priority] * number


def test_returned_jobs_can_be_used_at_once() -> None:
    first, second = schedule_many([{"function": note, "args": [text]} for text in "ab"])
    assert second.execute() == "b"
    first.priority = 7
    first.save()
    assert list(Job.objects.pending().values_list("pk", "priority")) == [(first.pk, 7)]


def test_nothing_is_scheduled_for_nothing() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert schedule_many([]) == []
        assert schedule_many(iter(())) == []
    assert not [query for query in queries if "INSERT" in query["sql"]]
    assert not Job.objects.exists()


def test_the_number_of_statements_does_not_grow() -> None:
    schedule(nothing, group="orders")
    counts = []
    for number in (10, 1_000, 10_000):
        calls_of_note = many(number, group="orders", run_after=timedelta(hours=1))
        with CaptureQueriesContext(connection) as queries:
            schedule_many({**call, "args": [*call["args"], "x" * 300]} for call in calls_of_note)
        counts.append(len(queries))
    assert Job.objects.count() == 11_011
    assert counts == counts[:1] * 3


@pytest.mark.parametrize("text", ["a", "'\"", "\\", "ß"], ids=ascii)
def test_megabytes_of_arguments_fit(text: str) -> None:
    """In MariaDB's packets of 16 MB, though characters are escaped twice, in JSON and in SQL."""
    texts = [f"{n}{text * 900_000}" for n in range(6)]
    schedule_many({"function": nothing, "args": [text]} for text in texts)
    stored = Job.objects.order_by("pk").values_list("args", flat=True)
    assert [json.loads(args) for args in stored] == [[text] for text in texts]


@pytest.mark.parametrize(
    ("wrong", "error", "named"),
    [
        ({"function": nothing, "args": "abc"}, TypeError, "args"),
        ({"function": nothing, "args": [{1}]}, TypeError, "args[0]"),
        ({"function": nothing, "kwargs": {"a": float("nan")}}, ValueError, "kwargs['a']"),
        ({"function": nothing, "meta": {"max_attempts": 0}}, ValueError, "max_attempts"),
        ({"function": nothing, "priority": "high"}, TypeError, "priority"),
        ({"function": nothing, "run_after": 5}, TypeError, "run_after"),
        ({"function": nothing, "queue": ""}, TypeError, "queue"),
        ({"function": nothing, "group": 7}, TypeError, "group"),
        ({"function": nothing, "group": Group(reference="not saved")}, ValueError, "group"),
        ({"function": calls.anonymous}, ValueError, "lambda"),
        ({"function": "eval"}, UnknownFunction, "eval"),
        ({"function": calls.prepared}, TypeError, "partial"),
        ({}, TypeError, "function"),
        ({"function": nothing, "colour": "red"}, TypeError, "colour"),
        ({"function": nothing, "using": "default"}, TypeError, "using"),
        ("suite.jobs.nothing", TypeError, ""),
    ],
)
def test_a_refusal_names_the_index_and_writes_nothing(
    wrong: Any, error: type[Exception], named: str
) -> None:
    with pytest.raises(error) as refusal:
        schedule_many([*many(3), wrong, *many(2)])
    assert "jobs[3]" in str(refusal.value)
    assert named in str(refusal.value)
    assert not Job.objects.exists()
    assert not Group.objects.exists()


def test_an_unsaved_group_is_refused_by_its_first_job_wherever_it_stands() -> None:
    group = Group(reference="not saved")
    with pytest.raises(ValueError, match=r"jobs\[1\]: group \[not saved\]"):
        schedule_many([{"function": nothing}, *many(2, group=group), {"function": nothing}])
    assert not Job.objects.exists()


@override_settings(ASYNC={"ALLOWED_FUNCTIONS": ["suite.jobs.note"]})
def test_what_is_not_allowed_is_refused() -> None:
    with pytest.raises(FunctionNotAllowed, match=r"jobs\[2\]"):
        schedule_many([*many(2), {"function": nothing}])
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_database_error_leaves_none() -> None:
    wrong = Group(reference="not saved", pk=10**6)
    with pytest.raises(Exception, match=r"(?i)foreign key|constraint"), transaction.atomic():
        schedule_many([*many(3), {"function": nothing, "group": wrong}])
    assert not Job.objects.exists()


def test_groups_are_joined_by_reference_and_by_themselves() -> None:
    orders = Group.objects.create(reference="orders")
    jobs = schedule_many(
        {"function": nothing, "group": group}
        for group in (orders, "orders", "stock", "stock", None)
    )
    references = [job.group and job.group.reference for job in jobs]
    assert references == ["orders", "orders", "stock", "stock", None]
    assert Group.objects.count() == 2
    assert orders.jobs.count() == 2


def test_a_group_that_takes_no_more_jobs_leaves_none() -> None:
    group = Group.objects.create(reference="orders")
    schedule(nothing, group=group).execute()
    with pytest.raises(ValidationError):
        schedule_many([*many(2, group="other"), {"function": nothing, "group": group}])
    assert Job.objects.count() == 1
    assert not Group.objects.filter(reference="other").exists()


@pytest.mark.django_db(transaction=True)
def test_it_is_part_of_the_callers_transaction() -> None:
    with transaction.atomic():
        schedule_many(many(3, group="orders"))
        transaction.set_rollback(True)
    assert not Job.objects.exists()
    assert not Group.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="has more than one writer")
def test_on_sqlite_it_waits_for_the_one_writer() -> None:
    group = Group.objects.create(reference="orders")
    with before_first_write(lambda: elsewhere(note, "written in between")):
        assert len(schedule_many(many(2, group=group))) == 2
    assert Note.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_they_run_in_the_order_given(flush: Callable[..., Any]) -> None:
    schedule_many(many(20))
    assert flush().output.startswith("20 executed")
    texts = Note.objects.order_by("pk").values_list("text", flat=True)
    assert list(texts) == [str(n) for n in range(20)]
