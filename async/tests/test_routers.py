"""Routers send the queue to another database: commands and functions go where schedule() does."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from django_async import clock, schedule, stats
from django_async.api import health, pause_queue, paused_queues, resume_queue
from django_async.models import Job, Pause
from suite.jobs import fail, nothing
from suite.shown import living

pytestmark = pytest.mark.django_db(databases=["default", "other"], transaction=True)

Flush = Callable[..., Any]


@pytest.fixture(params=["QueueElsewhere", "WrittenElsewhere"])
def routed(settings: Any, request: pytest.FixtureRequest) -> None:
    """All jobs go to ``other``; a job and a pause of ``default`` are there to be mistaken."""
    schedule(nothing, queue="here")
    pause_queue("here")
    settings.DATABASE_ROUTERS = [f"suite.routers.{request.param}"]


def states(using: str) -> list[str]:
    return [job.state for job in Job.objects.using(using).order_by("pk")]


def output(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_runs_the_jobs_where_they_were_scheduled(
    routed: None, flush: Flush, workers: int
) -> None:
    schedule(nothing)
    assert flush(workers=workers).output.startswith("1 executed")
    assert (states("other"), states("default")) == (["executed"], ["due"])


def test_what_is_named_counts_more_than_the_routers(routed: None, flush: Flush) -> None:
    schedule(nothing)
    resume_queue("here", using="default")
    assert flush(database=["default"]).output.startswith("1 executed")
    assert (states("other"), states("default")) == (["due"], ["executed"])


def test_queues_are_paused_and_resumed_there(routed: None) -> None:
    schedule(nothing, queue="mail")
    assert output("pause_queue", "mail") == "Paused: mail.\n"
    assert paused_queues() == {"mail"}
    assert Pause.objects.using("default").get().queue == "here"
    assert output("resume_queue", "mail") == "No queue is paused.\n"


def test_jobs_are_listed_cancelled_and_tried_again_there(routed: None) -> None:
    job = schedule(nothing)
    [line] = output("jobs", "--json").splitlines()
    assert (json.loads(line)["id"], json.loads(line)["queue"]) == (job.pk, "default")
    output("cancel", "--all", "--no-input")
    assert (states("other"), states("default")) == (["cancelled"], ["due"])
    output("retry", "--all", "--no-input")
    assert (states("other"), states("default")) == (["due"], ["due"])


def test_failed_jobs_are_tried_again_there(routed: None) -> None:
    schedule(fail, run_after=timedelta(hours=1))
    Job.objects.using("other").update(attempts=1)
    assert Job.objects.retry_failed() == 1
    assert Job.objects.using("other").due().count() == 1


def test_health_is_about_the_jobs_there(routed: None) -> None:
    schedule(fail, queue="mail")
    pause_queue("mail")
    for queue in (health()["queue"], json.loads(output("queue_health"))["queue"]):
        assert set(queue["not-executed-details"]) == {"suite.jobs.fail"}
        assert [pause["queue"] for pause in queue["paused"]] == ["mail"]


def test_health_of_another_database(routed: None) -> None:
    for _ in range(2):
        schedule(fail)
    told = json.loads(output("queue_health", "--database=default"))
    for queue in (health(using="default")["queue"], told["queue"]):
        assert set(queue["not-executed-details"]) == {"suite.jobs.nothing"}
        assert (queue["all-jobs"], queue["due"]) == (1, 1)
        assert [pause["queue"] for pause in queue["paused"]] == ["here"]


def test_the_probe_looks_there(routed: None) -> None:
    with living():  # in the default database
        with pytest.raises(CommandError, match="No flush_queue is running"):
            call_command("queue_health", "--probe")
        call_command("queue_health", "--probe", "--database=default")


@pytest.mark.parametrize(
    "estimate", [stats.estimate_rough_queue_completion, stats.estimate_queue_completion]
)
def test_estimates_are_about_the_database_of_the_others(
    routed: None, estimate: Callable[..., float]
) -> None:
    begun, now = schedule(nothing), clock.now("other")
    schedule(nothing)
    jobs = Job.objects.using("other").filter(pk=begun.pk)
    jobs.update(started=now - timedelta(seconds=10), executed=now)
    assert health(estimate)["queue"]["estimated-completion"] == pytest.approx(10, abs=0.1)
    assert health(estimate, using="default")["queue"]["estimated-completion"] == 0


def test_endpoints_are_about_the_jobs_there(
    routed: None, settings: Any, admin_client: Client
) -> None:
    settings.ROOT_URLCONF = "suite.endpoint_urls"
    schedule(fail, group="orders")
    told = admin_client.get(reverse("django_async:health")).json()
    assert set(told["queue"]["not-executed-details"]) == {"suite.jobs.fail"}
    address = reverse("django_async:progress", kwargs={"reference": "orders"})
    assert admin_client.get(address).json()["progress"]["total_jobs"] == 1


def test_a_job_of_another_database_has_no_page_in_the_admin(settings: Any) -> None:
    settings.ROOT_URLCONF = "suite.urls"
    for using in ("default", "other"):
        schedule(nothing, using=using).execute()
    here, there = (
        health(using=using)["queue"]["oldest-executed"] for using in ("default", "other")
    )
    assert (set(here), set(there)) == ({"id", "url"}, {"id"})
