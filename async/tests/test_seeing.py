"""What runs now, for people: Job.objects.running(), health(), and the probe."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from django_async import clock, liveness, schedule
from django_async.api import health, pause_queue, schedule_many
from django_async.control import Run
from django_async.models import Group, Job, Parent
from django_async.parents import Registration
from suite import costs, shown
from suite.jobs import nothing
from suite.shown import dead, living, show

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _cleared() -> None:
    shown.clear()


def run(job: Job, **more: Any) -> Run:
    return Run(job.pk, 2, 4711, 30.0, {"done": 3, "total": 4, "message": "Zoë"}, **more)


def test_running_jobs_are_those_of_living_parents() -> None:
    running, lost, waiting = (schedule(nothing) for _ in range(3))
    dead(run(lost))
    with living(run(running)):
        assert list(Job.objects.running()) == [running]
        assert not Job.objects.filter(pk=waiting.pk).running().exists()
        Job.objects.filter(pk=running.pk).update(cancelled=clock.now("default"))
        assert list(Job.objects.running()) == []


def test_health_tells_who_runs_what_for_how_long_and_how_far(admin_client: Client) -> None:
    job = schedule(nothing)
    with living(run(job)):
        [told] = health()["queue"]["running"]
        [parent] = health()["parents"]
    assert 30 <= told.pop("seconds") < 60
    assert admin_client.get(told.pop("url")).status_code == 200
    since, host = told.pop("since"), told.pop("host")
    assert timedelta(seconds=30) <= clock.now("default") - datetime.fromisoformat(since)
    assert told == {
        "id": job.pk,
        "pid": 4711,
        "attempt": 2,
        "parent": "alive",
        "done": 3.0,
        "total": 4.0,
        "message": "Zoë",
    }
    assert (parent["host"], parent["workers"], parent["parent"]) == (host, 2, "alive")
    assert parent["pid"] > 0
    assert parent["seconds"] >= 0


def test_health_shows_the_dead_as_dead() -> None:
    job, other = schedule(nothing), schedule(nothing)
    dead(run(job))
    show(Registration("default"), run(other))
    told = health()
    assert [(one["id"], one["parent"], one["host"]) for one in told["queue"]["running"]] == [
        (job.pk, "dead", "fallen"),
        (other.pk, "dead", None),
    ]
    assert [one["parent"] for one in told["parents"]] == ["dead"]
    assert json.loads(json.dumps(told)) == told


def test_what_has_ended_is_not_told_as_running() -> None:
    job = schedule(nothing)
    with living(run(job)):
        job.execute()
        assert health()["queue"]["running"] == []


# The probe.


def probe(*options: str) -> str:
    """What the probe complains about, or nothing."""
    out = io.StringIO()
    try:
        call_command("queue_health", "--probe", *options, stdout=out)
    except CommandError as error:
        return f"{error} ({error.returncode})" if error.returncode != 1 else str(error)
    assert out.getvalue() == ""
    return ""


def test_a_queue_is_well_while_a_parent_lives() -> None:
    assert probe() == "No flush_queue is running."
    dead()
    assert probe() == "No flush_queue is running."
    with living():
        assert probe() == ""


def test_a_host_is_well_while_a_parent_lives_on_it() -> None:
    with living():
        assert probe("--here") == ""
        Parent.objects.update(host="elsewhere")
        assert probe("--here") == f"No flush_queue is running on {liveness.host()}."
        assert probe() == ""


def due_for(seconds: float, **more: Any) -> Job:
    return schedule(nothing, run_after=timedelta(seconds=-seconds), **more)


def test_a_queue_is_well_while_no_due_job_has_waited_for_too_long() -> None:
    with living():
        assert probe("--max-age=0") == ""
        due_for(30, priority=9)
        schedule(nothing, run_after=timedelta(hours=1))
        assert probe("--max-age=60") == ""
        due_for(90, priority=2)
        complaint = probe("--max-age=60")
        assert complaint.startswith("The oldest due job has been waiting for 9")
        assert complaint.endswith("60 s are allowed.")
        assert probe() == ""


def test_a_job_without_a_time_waits_since_it_was_added() -> None:
    schedule(nothing)
    Job.objects.update(added=clock.now("default") - timedelta(minutes=5))
    with living():
        assert probe("--max-age=600") == ""
        assert "300 s" in probe("--max-age=60") or "301 s" in probe("--max-age=60")


def test_what_runs_or_must_not_run_is_not_waiting() -> None:
    running, detached, final = due_for(900), due_for(900), due_for(900)
    Job.objects.filter(pk=detached.pk).update(started=clock.now("default"))
    Group.objects.create(reference="import").on_completion(final)
    due_for(900, queue="mail")
    pause_queue("mail")
    with living(run(running)):
        assert probe("--max-age=60") == ""
        due_for(900)
        assert probe("--max-age=60")
        pause_queue()
        assert probe("--max-age=60") == ""


def test_the_probe_reads_the_same_however_many_jobs_there_are() -> None:
    def measured(number: int) -> int:
        schedule_many({"function": nothing, "priority": n % 3} for n in range(number))
        costs.analyse()
        return costs.cost(lambda: probe("--max-age=600"))

    with living():
        few, many = measured(300), measured(6_000)
    assert many < few + 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-age=60"], "--probe"),
        (["--probe", "--max-age=-1"], "seconds"),
        (["--probe", "--max-age=soon"], "'soon' is not a number of seconds"),
        (["--probe", "--database=nowhere"], "'nowhere'"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(options: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("queue_health", *options)
