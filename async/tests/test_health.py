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

from django_async import backlog, census, schedule, stats
from django_async.api import deschedule, health, schedule_many
from django_async.models import Error, Group, Job
from suite import costs
from suite.jobs import fail, note, nothing

pytestmark = pytest.mark.django_db

QUEUE = {
    *("all-jobs", "executed", "executed-details", "oldest-executed", "most-recent-executed"),
    *("remaining", "not-executed", "not-executed-details"),
    *("cancelled", "cancelled-details", "oldest-cancelled", "most-recent-cancelled"),
    *("estimated-completion-current-job", "estimated-completion"),
    *("due", "oldest-due-age", "failing", "discarded", "running", "paused", "approximate"),
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
    assert set(empty) == {"queue", "errors", "parents"}
    assert set(empty["queue"]) == QUEUE
    assert empty["errors"] == {"number": 0}
    assert {key for key, value in empty["queue"].items() if value not in (0, {}, [], None)} == set()
    assert empty["queue"]["approximate"] is False


def test_numbers(busy: None) -> None:
    queue, errors = health()["queue"], health()["errors"]
    numbers = ("all-jobs", "executed", "remaining", "not-executed", "cancelled", "discarded")
    assert [queue[key] for key in numbers] == [12, 3, 4, 4, 4, 1]
    assert [queue[key] for key in ("due", "failing", "running")] == [1, 2, []]
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


def many(state: str, number: int, **more: Any) -> None:
    """Insert so many jobs in this state. (Rows that change stay in InnoDB's indexes for a while,
    and in its estimates.)"""
    now = timezone.now()
    ends = {} if state == "pending" else {state: now, "started": now}
    name = "suite.jobs.nothing"
    Job.objects.bulk_create(Job(name=name, **{**ends, **more}) for _ in range(number))


STATES = ("executed", "pending", "cancelled", "discarded")
IN_HEALTH = ("executed", "remaining", "cancelled", "discarded")


def numbers() -> list[int]:
    """What health() says of each state."""
    return [health()["queue"][key] for key in IN_HEALTH]


def test_each_state_is_counted_up_to_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "EXACT", 5)
    for state in STATES:
        many(state, 5)
        Job.objects.filter(pk=schedule(nothing).pk).delete()  # ids have gaps
    queue = health()["queue"]
    assert [queue[key] for key in ("all-jobs", *IN_HEALTH)] == [20, 5, 5, 5, 5]
    assert (queue["due"], queue["approximate"]) == (5, False)


@pytest.mark.parametrize("state", STATES)
def test_above_the_bound_a_number_is_approximate(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(census, "EXACT", 5)
    many(state, 6)
    queue = health()["queue"]
    assert queue[IN_HEALTH[STATES.index(state)]] >= 6
    assert queue["all-jobs"] >= 6
    assert queue["approximate"] is True


def test_very_many_errors_are_approximate_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "EXACT", 5)
    job = schedule(nothing)
    for number in range(6):
        assert health()["errors"]["number"] == number
        assert health()["queue"]["approximate"] is False
        job.errors.create(exception=str(number), traceback="")
    assert health()["errors"]["number"] >= 6
    assert health()["queue"]["approximate"] is True


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("large", STATES)
def test_the_number_of_very_many_jobs_is_the_databases_estimate(
    monkeypatch: pytest.MonkeyPatch, large: str
) -> None:
    for state in STATES:
        many(state, 3_000 if state == large else 90)
    costs.analyse()
    monkeypatch.setattr(census, "EXACT", 100)
    found = dict(zip(STATES, numbers(), strict=True))
    assert 2_700 < found.pop(large) < 3_300
    assert set(found.values()) == {90}
    assert 2_900 < health()["queue"]["all-jobs"] < 3_600


@pytest.mark.django_db(transaction=True)
def test_estimates_of_several_states_are_each_near_the_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {"executed": 5_000, "pending": 2_000, "cancelled": 1_000, "discarded": 500}
    for state, number in wanted.items():
        many(state, number)
    costs.analyse()
    monkeypatch.setattr(census, "EXACT", 100)
    assert 8_000 < health()["queue"]["all-jobs"] < 9_000
    if connection.vendor == "sqlite":  # which knows the ids only
        assert numbers()[1:] == [101] * 3
    else:
        assert numbers() == pytest.approx(list(wanted.values()), rel=0.15)


@pytest.mark.django_db(transaction=True)
def test_a_hundred_thousand_finished_jobs_are_counted_one_by_one() -> None:
    many("executed", 12_500)
    columns = [field.attname for field in Job._meta.concrete_fields if not field.primary_key]
    copied = ", ".join(columns)
    with connection.cursor() as cursor:
        for _ in range(3):
            cursor.execute(f"INSERT INTO async_job ({copied}) SELECT {copied} FROM async_job")
    many("pending", 3)
    queue = health()["queue"]
    assert (queue["executed"], queue["remaining"], queue["all-jobs"]) == (100_000, 3, 100_003)
    assert queue["executed-details"] == {"suite.jobs.nothing": {"count": 100_000}}
    assert queue["approximate"] is False
    many("executed", 1)
    assert health()["queue"]["approximate"] is True


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a dozen jobs were very many."""
    monkeypatch.setattr(census, "EXACT", 12)
    monkeypatch.setattr(stats, "SAMPLE", 12)
    monkeypatch.setattr(stats, "OWN_PACE", 2)


def test_the_due_jobs_of_a_long_backlog_are_found_where_they_are(small_bounds: None) -> None:
    for priority in (-3, 0, 7):
        many("pending", 10, priority=priority, scheduled=timezone.now() + timedelta(days=1))
        schedule(nothing, priority=priority, run_after=timedelta(minutes=-priority - 10))
    schedule(nothing, priority=-3)
    queue = health()["queue"]
    assert queue["due"] == 4
    assert 17 * 60 <= queue["oldest-due-age"] < 18 * 60
    Job.objects.filter(scheduled=None).update(added=timezone.now() - timedelta(hours=1))
    assert 3_600 <= health()["queue"]["oldest-due-age"] < 3_660


def test_counting_the_due_jobs_stops_but_looking_for_the_oldest_does_not(
    small_bounds: None,
) -> None:
    many("pending", 20, priority=9)
    many("pending", 20, priority=8, scheduled=timezone.now() - timedelta(minutes=1))
    schedule(nothing, priority=7, run_after=timedelta(minutes=-10))
    queue = health()["queue"]
    assert queue["due"] == 12
    assert 600 <= queue["oldest-due-age"] < 660


def test_of_very_many_priorities_the_highest_are_looked_at(
    small_bounds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MOST_PRIORITIES", 3)
    for priority in range(20):
        schedule(nothing, priority=priority)
    assert health()["queue"]["due"] == 3


def test_of_very_many_pending_jobs_the_lowest_are_asked_whether_they_failed(
    small_bounds: None,
) -> None:
    many("pending", 20)
    Job.objects.filter(pk=schedule(nothing, priority=-1).pk).update(attempts=6)
    Job.objects.filter(pk=schedule(nothing, priority=0).pk).update(attempts=5)
    assert health()["queue"]["failing"] == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "estimate", [stats.estimate_rough_queue_completion, stats.estimate_queue_completion]
)
def test_the_cost_does_not_grow_with_the_number_of_jobs(
    small_bounds: None, estimate: Callable[[], float]
) -> None:
    found, tomorrow = [], timezone.now() + timedelta(days=1)
    for start in (0, 8):
        for number in range(start, 2 * start or 8):
            for state in STATES:
                many(state, 60, priority=number % 3, scheduled=tomorrow)
                many(state, 20, priority=number % 3)
            many("pending", 5, group=Group.objects.create(reference=f"group {number}"))
            Error.objects.bulk_create(Error(job=Job.objects.all()[0]) for _ in range(50))
        costs.analyse()
        found.append(costs.cost(lambda: health(estimate)))
    assert found[1] < 1.1 * found[0] + 20


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


def test_a_settings_module_without_urls_has_a_health(settings: Any) -> None:
    """That of a worker alone, say."""
    job = schedule(nothing)
    job.execute()
    del settings.ROOT_URLCONF
    assert health()["queue"]["most-recent-executed"] == {"id": job.pk}
