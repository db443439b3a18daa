"""What operators do to jobs in the admin: with a permission each, asked first, and logged."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_async import clock, schedule
from django_async.admin.verbs import VERBS
from django_async.api import schedule_many
from django_async.models import Job
from suite.jobs import note, nothing

pytestmark = pytest.mark.django_db

NAMES = [verb.name for verb in VERBS]
HOUR = timedelta(hours=1)
VALUES: dict[str, dict[str, Any]] = {
    "reschedule": {"minutes": "90"},
    "prioritise": {"priority": "-3"},
    "move": {"queue": "slow"},
}


def staff(*codes: str) -> Client:
    """Somebody who may see jobs, and do what these permissions say."""
    user = User.objects.create_user("operator", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="async", codename__in=["view_job", *codes]
        )
    )
    client = Client()
    client.force_login(user)
    return client


def send(client: Client, name: str, *jobs: Job, **more: Any) -> Any:
    data = {"action": name, "_selected_action": [job.pk for job in jobs], "index": 0, **more}
    return client.post(reverse("admin:async_job_changelist"), data)


def sure(name: str) -> dict[str, Any]:
    return {"confirmed": "1", **VALUES.get(name, {})}


def everything(job: Job) -> dict[str, Any]:
    return dict(Job.objects.filter(pk=job.pk).values().get())


@pytest.mark.parametrize("name", NAMES)
def test_who_may_only_look_is_shown_no_action_and_refused_each(name: str) -> None:
    job = schedule(nothing)
    before = everything(job)
    others = [f"{other}_job" for other in NAMES if other != name]
    client = staff()
    assert 'name="action"' not in client.get(reverse("admin:async_job_changelist")).content.decode()
    assert send(client, name, job, **sure(name)).status_code == 403
    User.objects.all().delete()
    client = staff(*others)
    assert send(client, name, job, **sure(name)).status_code == 403
    assert everything(job) == before


@pytest.mark.parametrize("name", NAMES)
def test_first_it_asks_and_changes_nothing(name: str) -> None:
    job = schedule(note, ["<b>&"], run_after=HOUR)
    before = everything(job)
    page = send(staff(f"{name}_job"), name, job)
    text = page.content.decode()
    assert page.status_code == 200
    assert "One job is chosen." in text
    assert "suite.jobs.note(&#x27;&lt;b&gt;&amp;&#x27;)" in text
    assert everything(job) == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("name", NAMES)
def test_then_it_does_it_and_writes_it_into_the_log(name: str) -> None:
    job = schedule(nothing, run_after=HOUR)
    executed = schedule(nothing)
    now = clock.now("default")
    Job.objects.filter(pk=executed.pk).update(executed=now, started=now)
    page = send(staff(f"{name}_job"), name, job, executed, **sure(name))
    assert page.status_code == 302
    job.refresh_from_db()
    assert {
        "retry": job in Job.objects.due(),
        "reschedule": bool(job.scheduled and job.scheduled > clock.now("default") + HOUR),
        "prioritise": job.priority == -3,
        "move": job.queue == "slow",
        "cancel": job.state == "cancelled",
        "discard": job.state == "discarded",
    }[name]
    entry = LogEntry.objects.get()
    assert entry.user.username == "operator"
    assert entry.object_repr == "1 job"
    assert "1 changed, 1 left alone: executed" in entry.change_message


@pytest.mark.parametrize("name", NAMES)
def test_a_look_changes_nothing(name: str) -> None:
    job = schedule(nothing, run_after=HOUR)
    before = everything(job)
    data = {"action": name, "_selected_action": job.pk, "index": 0, **sure(name)}
    staff(f"{name}_job").get(reverse("admin:async_job_changelist"), data)
    assert everything(job) == before


@pytest.mark.parametrize("name", NAMES)
def test_all_that_the_list_has_can_be_chosen(name: str) -> None:
    """Of which a page shows a hundred."""
    made = schedule_many({"function": nothing, "run_after": HOUR} for _ in range(1_200))
    other = schedule(nothing, queue="other", run_after=HOUR)
    before = everything(other)
    client = staff(f"{name}_job")
    address = reverse("admin:async_job_changelist") + "?queue=default"
    data = {"action": name, "_selected_action": [made[0].pk], "index": 0, "select_across": 1}
    asked = client.post(address, data).content.decode()
    assert "1200 jobs are chosen" in asked or "1,200 jobs are chosen" in asked
    assert 'name="select_across" value="1"' in asked
    client.post(address, {**data, **sure(name)})
    assert LogEntry.objects.get().object_repr == "1200 jobs"
    assert everything(other) == before


@pytest.mark.parametrize(
    ("name", "values", "complaint"),
    [
        ("reschedule", {}, "one of the two"),
        ("reschedule", {"minutes": "5", "at": "2030-01-01T10:00"}, "one of the two"),
        ("reschedule", {"minutes": "-5"}, "greater than or equal to 0"),
        ("reschedule", {"at": "soon"}, "valid date/time"),
        ("prioritise", {"priority": "high"}, "whole number"),
        ("prioritise", {"priority": str(1 << 31)}, "less than or equal to"),
        ("move", {"queue": ""}, "required"),
        ("move", {"queue": "x" * 101}, "at most 100 characters"),
    ],
)
def test_what_cannot_be_is_refused_with_words_and_asked_again(
    name: str, values: dict[str, str], complaint: str
) -> None:
    job = schedule(nothing, run_after=HOUR)
    before = everything(job)
    page = send(staff(f"{name}_job"), name, job, confirmed="1", **values)
    assert page.status_code == 200
    assert complaint in page.content.decode()
    assert everything(job) == before


def test_a_moment_is_one_of_the_current_time_zone(settings: Any) -> None:
    job = schedule(nothing)
    send(staff("reschedule_job"), "reschedule", job, confirmed="1", at="2099-07-01T10:00")
    job.refresh_from_db()
    assert job.scheduled is not None
    assert job.scheduled.year == 2099


def test_more_jobs_than_sqlite_takes_values_can_be_chosen_at_once() -> None:
    schedule_many({"function": nothing, "run_after": HOUR} for _ in range(33_000))
    client, number = staff("prioritise_job"), Job.objects.count()
    send(client, "prioritise", Job.objects.latest("pk"), select_across=1, **sure("prioritise"))
    assert LogEntry.objects.get().object_repr == f"{number} jobs"
    assert Job.objects.filter(priority=-3).count() == number
