"""remove_old_jobs(): what is deleted, and when it comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, models
from django.utils import timezone

from django_async import clock, retention, schedule
from django_async.api import deschedule, remove_old_jobs, schedule_many
from django_async.models import Error, Group, Job
from suite.jobs import fail, nothing

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def ended(state: str, ago: timedelta, group: Group | None = None) -> Job:
    """A job that ended so long ago."""
    job = schedule(nothing, [state, str(ago)], group=group)
    moment = timezone.now() - ago
    stamps = {"started": moment, state: moment} if state == "executed" else {state: moment}
    Job.objects.filter(pk=job.pk).update(**stamps)
    return job


def left() -> set[int]:
    """The jobs that are left, the next removal apart."""
    others = Job.objects.exclude(name="django_async.api.remove_old_jobs")
    return set(others.values_list("pk", flat=True))


@pytest.mark.parametrize("state", ["executed", "cancelled", "discarded"])
def test_what_ended_long_ago_goes(state: str) -> None:
    ended(state, 31 * DAY)
    kept = ended(state, 29 * DAY)
    remove_old_jobs()
    assert left() == {kept.pk}


def test_what_is_pending_stays_however_old(flush: Callable[..., Any]) -> None:
    old = schedule(nothing, run_after=-400 * DAY)
    failed = schedule(fail)
    flush(filter="suite.jobs.fail", keep_going=True)
    Job.objects.update(added=timezone.now() - 400 * DAY)
    remove_old_jobs()
    assert left() == {old.pk, failed.pk}


def test_errors_go_with_their_job() -> None:
    job = ended("discarded", 31 * DAY)
    job.errors.create(exception="", traceback="")
    remove_old_jobs()
    assert not Error.objects.exists()


@pytest.mark.parametrize("days", [0.5, 3])
def test_the_age_can_be_given(days: float) -> None:
    ended("executed", days * DAY + timedelta(hours=1))
    kept = ended("executed", days * DAY - timedelta(hours=1))
    remove_old_jobs(days)
    assert left() == {kept.pk}


def test_a_group_goes_with_its_jobs_when_all_are_old() -> None:
    group = Group.objects.create(reference="orders")
    jobs = [schedule(nothing, group=group) for _ in range(3)]
    group.on_completion(jobs[0])
    old = timezone.now() - 31 * DAY
    Job.objects.update(started=old, executed=old)
    remove_old_jobs()
    assert (left(), Group.objects.count()) == (set(), 0)


@pytest.mark.parametrize("state", ["pending", "executed", "cancelled"])
def test_a_group_stays_whole_while_one_of_its_jobs_is_young(state: str) -> None:
    group = Group.objects.create(reference="orders")
    jobs = [schedule(nothing, [n], group=group) for n in range(2)]
    old, young = timezone.now() - 31 * DAY, timezone.now() - 29 * DAY
    Job.objects.filter(pk=jobs[0].pk).update(started=old, executed=old)
    if state != "pending":
        Job.objects.filter(pk=jobs[1].pk).update(**{"started": young, state: young})
    remove_old_jobs()
    assert left() == {job.pk for job in jobs}
    assert Group.objects.get() == group


def test_a_group_without_jobs_stays() -> None:
    Group.objects.create(reference="orders")
    Group.objects.update(created=timezone.now() - 400 * DAY)
    remove_old_jobs()
    assert Group.objects.count() == 1


def test_more_than_a_batch_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    schedule_many({"function": nothing, "args": [n]} for n in range(10))
    old = timezone.now() - 31 * DAY
    Job.objects.update(started=old, executed=old)
    kept = schedule(nothing)
    remove_old_jobs()
    assert left() == {kept.pk}


@pytest.mark.parametrize(("args", "hours"), [([], 8), ([10, 2.5], 2.5)])
def test_it_schedules_itself_again(args: list[Any], hours: float) -> None:
    before = clock.now("default")
    remove_old_jobs(*args)
    again = Job.objects.get()
    assert (again.name, json.loads(again.args)) == (
        "django_async.api.remove_old_jobs",
        args or [30, 8],
    )
    assert again.scheduled is not None
    wait = timedelta(hours=hours)
    assert before + wait <= again.scheduled <= clock.now("default") + wait


@pytest.mark.parametrize("name", ["async.api.remove_old_jobs", remove_old_jobs])
def test_it_runs_as_a_job(flush: Callable[..., Any], name: Any) -> None:
    ended("executed", 31 * DAY)
    job = schedule(name)
    assert flush().status == 0
    job.refresh_from_db()
    assert job.state == "executed"
    assert left() == set()
    assert deschedule(remove_old_jobs, [30, 8]) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("on_delete", [models.PROTECT, models.DO_NOTHING])
def test_what_cannot_be_deleted_is_passed_over_and_told(
    on_delete: Any,
    flush: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether Django says so, or the database."""
    if on_delete is models.DO_NOTHING and connection.vendor == "sqlite":
        pytest.skip("SQLite says so only when the whole job commits")
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(Error._meta.get_field("job").remote_field, "on_delete", on_delete)
    held = [ended("executed", 31 * DAY) for _ in range(3)]
    for job in held:
        job.errors.create(exception="", traceback="")
    ended("executed", 31 * DAY - timedelta(hours=1))
    schedule(remove_old_jobs)
    assert flush().status == 0
    assert left() == {job.pk for job in held}
    assert caplog.text.count("3 jobs on 'default' that ended long ago cannot be deleted") == 1
