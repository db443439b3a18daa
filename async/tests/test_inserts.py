"""The row that schedule() inserts past the ORM is the one that the ORM would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.signals import post_save, pre_save

from django_async import api, clock, inserts, schedule
from django_async.models import Group, Job
from django_async.payload import identity
from suite.jobs import note

pytestmark = pytest.mark.django_db

CALLS: list[dict[str, Any]] = [
    {},
    {"args": ["%s", "\N{SNOWMAN}", 1.5, None], "kwargs": {"key": [True, {"a": "'"}]}},
    {"run_after": timedelta(hours=1), "priority": -3, "queue": "mail"},
    {"meta": {"max_attempts": 3, "own": "x" * 10_000}, "group": "g"},
]
CHOSEN_BY_THE_DATABASE = ("id", "added", "scheduled")


def row(job: Job) -> dict[str, Any]:
    values = Job.objects.filter(pk=job.pk).values().get()
    return {name: value for name, value in values.items() if name not in CHOSEN_BY_THE_DATABASE}


@pytest.mark.parametrize("call", CALLS)
def test_it_is_the_row_that_the_orm_saves(call: dict[str, Any]) -> None:
    Group.objects.create(reference="g")
    job = schedule(note, **call)
    assert row(job) == row(_saved_again(job))
    assert job.identity == identity(job.name, job.args, job.kwargs)


def _saved_again(job: Job) -> Job:
    again = Job.objects.get(pk=job.pk)
    again.pk = None
    again.save(force_insert=True)
    return again


@pytest.mark.parametrize("call", CALLS)
def test_the_instance_says_what_the_row_says(call: dict[str, Any]) -> None:
    Group.objects.create(reference="g")
    job = schedule(note, **call)
    found = Job.objects.get(pk=job.pk)
    for field in Job._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(job, field.attname)
    assert (job._state.adding, job._state.db) == (False, "default")
    job.priority = 9
    job.save()
    assert Job.objects.get().priority == 9


@pytest.fixture
def heard() -> Iterator[list[str]]:
    heard: list[str] = []

    def hear(signal: Any, instance: Job, **_: Any) -> None:
        heard.append(f"{'after' if signal is post_save else 'before'} {instance.name}")

    for signal in (pre_save, post_save):
        signal.connect(hear, sender=Job)
    yield heard
    for signal in (pre_save, post_save):
        signal.disconnect(hear, sender=Job)


def test_receivers_of_djangos_signals_are_called(heard: list[str]) -> None:
    job = schedule(note, ["1"])
    assert heard == ["before suite.jobs.note", "after suite.jobs.note"]
    assert Job.objects.get() == job


def test_an_error_of_the_database_marks_the_callers_transaction_for_rollback() -> None:
    """As with Model.save(): what the caller swallows is not half done."""
    Job.objects.filter(pk=schedule(note).pk).update(task_id="taken")
    job = api.build(note, None, None, None, None, 5, "default", partial(clock.utc_now, "default"))
    job.task_id = "taken"
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            inserts.one(job, "default")
        assert connection.needs_rollback
        transaction.set_rollback(True)
    assert Job.objects.count() == 1
    assert job._state.adding
