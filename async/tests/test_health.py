"""health() and queue_health: what an operator is told."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_async import health as module
from django_async import schedule, stats
from django_async.api import deschedule, health, schedule_many
from django_async.models import Group, Job
from suite.jobs import fail, note, nothing

pytestmark = pytest.mark.django_db

QUEUE = {
    *("all-jobs", "executed", "executed-details", "oldest-executed", "most-recent-executed"),
    *("remaining", "not-executed", "not-executed-details"),
    *("cancelled", "cancelled-details", "oldest-cancelled", "most-recent-cancelled"),
    *("estimated-completion-current-job", "estimated-completion"),
    *("due", "oldest-due-age", "failing", "discarded", "running", "approximate"),
}


@pytest.fixture
def busy(flush: Callable[..., Any]) -> None:
    """A queue with jobs in every state."""
    for number in range(3):
        schedule(note, [str(number)])
    for number in range(2):
        schedule(fail, [str(number)])
    schedule(fail, meta={"max_attempts": 1})
    flush(keep_going=True)
    for number in range(4):
        schedule(nothing, [number])
        deschedule(nothing, [number])
    schedule(nothing)
    schedule(note, run_after=timedelta(hours=1))


def ended(name: str, took: timedelta, **more: Any) -> Job:
    """A job that was executed just now and took so long."""
    now = timezone.now()
    job = schedule(name)
    Job.objects.filter(pk=job.pk).update(started=now - took, executed=now, **more)
    return job


def printed(*arguments: str) -> Any:
    """What the command prints, as JSON."""
    out = io.StringIO()
    call_command("queue_health", *arguments, stdout=out)
    return json.loads(out.getvalue())


def test_of_an_empty_queue() -> None:
    empty = health()
    assert set(empty) == {"queue", "errors"}
    assert set(empty["queue"]) == QUEUE
    assert empty["errors"] == {"number": 0}
    assert {key for key, value in empty["queue"].items() if value not in (0, {}, None)} == set()
    assert empty["queue"]["approximate"] is False


def test_numbers(busy: None) -> None:
    queue, errors = health()["queue"], health()["errors"]
    numbers = ("all-jobs", "executed", "remaining", "not-executed", "cancelled", "discarded")
    assert [queue[key] for key in numbers] == [12, 3, 4, 4, 4, 1]
    assert [queue[key] for key in ("due", "failing", "running")] == [1, 2, None]
    assert (queue["approximate"], errors) == (False, {"number": 3})


def test_details_count_the_jobs_of_each_function(busy: None) -> None:
    queue = health()["queue"]
    assert queue["executed-details"] == {"suite.jobs.note": {"count": 3}}
    assert queue["cancelled-details"] == {"suite.jobs.nothing": {"count": 4}}
    assert queue["not-executed-details"] == {
        "suite.jobs.fail": {"count": 2},
        "suite.jobs.note": {"count": 1},
        "suite.jobs.nothing": {"count": 1},
    }


def test_jobs_are_given_by_id_and_admin_url(busy: None, admin_client: Client) -> None:
    queue = health()["queue"]
    for state in ("executed", "cancelled"):
        ids = list(getattr(Job.objects, state)().order_by(state).values_list("pk", flat=True))
        oldest, recent = queue[f"oldest-{state}"], queue[f"most-recent-{state}"]
        assert (oldest["id"], recent["id"]) == (ids[0], ids[-1])
        assert admin_client.get(oldest["url"]).status_code == 200


@override_settings(ROOT_URLCONF="suite.no_urls")
def test_jobs_are_given_by_id_where_there_is_no_admin(busy: None) -> None:
    assert set(health()["queue"]["oldest-executed"]) == {"id"}


def test_it_is_json(busy: None) -> None:
    told = health()
    assert json.loads(json.dumps(told)) == told


def test_the_age_of_the_oldest_due_job_counts_from_its_time_or_its_birth() -> None:
    schedule(nothing, run_after=timedelta(hours=1))
    assert health()["queue"]["oldest-due-age"] is None
    schedule(nothing, run_after=timedelta(minutes=-5))
    assert 300 <= health()["queue"]["oldest-due-age"] < 360
    schedule(nothing)
    Job.objects.filter(scheduled=None).update(added=timezone.now() - timedelta(minutes=10))
    assert 600 <= health()["queue"]["oldest-due-age"] < 660


def test_above_a_bound_numbers_are_approximate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", 5)
    schedule_many({"function": nothing} for _ in range(5))
    assert (health()["queue"]["remaining"], health()["queue"]["approximate"]) == (5, False)
    schedule(nothing)
    queue = health()["queue"]
    assert (queue["remaining"], queue["cancelled"], queue["approximate"]) == (5, 0, True)
    assert queue["all-jobs"] >= 5


@pytest.mark.django_db(transaction=True)
def test_the_number_of_very_many_jobs_is_the_databases_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule_many({"function": nothing} for _ in range(3_000))
    with connection.cursor() as cursor:
        analyse = "ANALYZE TABLE async_job" if connection.vendor == "mysql" else "ANALYZE async_job"
        cursor.execute(analyse)
    monkeypatch.setattr(module, "EXACT", 100)
    queue = health()["queue"]
    assert (queue["remaining"], queue["approximate"]) == (100, True)
    assert 2_000 < queue["all-jobs"] < 4_000


def test_the_number_of_statements_is_constant(busy: None) -> None:
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            health()
        counts.append(len(queries))
        schedule_many({"function": nothing, "args": [n]} for n in range(500))
    assert counts[0] == counts[1]


def test_the_estimate_is_the_callers_choice() -> None:
    assert health(lambda: 1234.5)["queue"]["estimated-completion"] == 1234.5


def test_the_rough_estimate_is_the_mean_of_the_last_day_for_each_pending_job() -> None:
    ended("suite.jobs.note", timedelta(seconds=10))
    ended("suite.jobs.fail", timedelta(seconds=20))
    yesterday = timezone.now() - timedelta(days=2)
    Job.objects.filter(pk=ended("suite.jobs.note", timedelta(hours=9)).pk).update(
        executed=yesterday, started=yesterday - timedelta(hours=9)
    )
    for _ in range(4):
        schedule(nothing)
    assert stats.estimate_rough_queue_completion() == pytest.approx(60, abs=0.1)


def test_the_rough_estimate_counts_the_wait_of_scheduled_jobs() -> None:
    now = timezone.now()
    job = ended("suite.jobs.note", timedelta(seconds=10))
    Job.objects.filter(pk=job.pk).update(scheduled=now - timedelta(seconds=40))
    schedule(nothing)
    assert stats.estimate_rough_queue_completion() == pytest.approx(40, abs=1)


def test_the_precise_estimate_goes_by_function_and_by_group() -> None:
    ended("suite.jobs.note", timedelta(seconds=10))
    ended("suite.jobs.note", timedelta(seconds=20))
    ended("suite.jobs.fail", timedelta(seconds=100))
    for _ in range(2):
        schedule(note)
    schedule("suite.jobs.never_ran")
    assert stats.estimate_queue_completion() == pytest.approx(30, abs=0.1)
    group = Group.objects.create(reference="orders")
    first, _ = schedule(nothing, group=group), schedule(nothing, group=group)
    first.execute()
    Group.objects.update(created=timezone.now() - timedelta(hours=1))
    assert stats.estimate_queue_completion() == pytest.approx(3630, abs=60)


def test_estimates_of_an_empty_queue_are_nothing() -> None:
    assert stats.estimate_rough_queue_completion() == 0
    assert stats.estimate_queue_completion() == 0
    assert stats.estimate_current_job_completion() is None


def test_the_command_prints_health(busy: None) -> None:
    shown, told = printed(), json.loads(json.dumps(health()))
    assert set(shown["queue"]) == QUEUE
    for state in (shown, told):
        del state["queue"]["oldest-due-age"], state["queue"]["estimated-completion"]
    assert shown == told


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ([], 10),
        (["--algorithm", "precise"], 10),
        (["--algorithm=rough"], 15),
        (["-a", "rough"], 15),
    ],
)
def test_the_command_estimates_as_asked(arguments: list[str], seconds: float) -> None:
    ended("suite.jobs.note", timedelta(seconds=10))
    ended("suite.jobs.fail", timedelta(seconds=20))
    schedule(note)
    estimate = printed(*arguments)["queue"]["estimated-completion"]
    assert estimate == pytest.approx(seconds, abs=0.1)


def test_the_command_knows_no_other_algorithm() -> None:
    with pytest.raises(CommandError, match="choose from"):
        printed("--algorithm", "magic")
