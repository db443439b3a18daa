"""Scheduling by hand in the admin: its own permission, what is allowed, and nothing lost."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from django_async import byhand, clock, schedule
from django_async.models import Group, Job
from suite import figures
from suite.jobs import note

pytestmark = pytest.mark.django_db

ALL = [f"{verb}_job" for verb in ("view", "add", "change", "delete", "retry", "cancel", "move")]
FILLED = {"function": "suite.jobs.note", "priority": "5", "queue": "default"}
EVERYTHING = {
    "function": "suite.jobs.note",
    "args": '["<b>", 1.0]',
    "kwargs": '{ "key": null }',
    "minutes": "90",
    "priority": "-3",
    "queue": "slow",
    "group": "import",
    "meta": '{"timeout": 60}',
}


@pytest.fixture(autouse=True)
def _schedulable(settings: Any) -> None:
    settings.ASYNC = {"SCHEDULABLE": ["suite.jobs.", "print"]}


def clerk(*codes: str) -> Client:
    """Somebody of the staff with these permissions."""
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="async", codename__in=codes)
    )
    client = Client()
    client.force_login(user)
    return client


def page() -> str:
    return reverse("admin:async_job_add")


def errors(response: Any) -> dict[str, list[str]]:
    """What the page says is wrong, by field."""
    assert response.status_code == 200
    found: dict[str, list[str]] = response.context["form"].errors
    return found


def test_no_other_permission_will_do() -> None:
    client = clerk(*ALL)
    assert client.get(page()).status_code == 403
    assert client.post(page(), FILLED).status_code == 403
    assert not Job.objects.exists()
    assert reverse("admin:async_job_add") not in client.get("/admin/").content.decode()


def test_a_look_changes_nothing() -> None:
    client = clerk("schedule_job")
    assert client.get(page(), FILLED).status_code == 200
    assert not Job.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_job_is_scheduled_with_all_that_was_said() -> None:
    before = clock.now("default")
    client = clerk("schedule_job", "view_job")
    Group.objects.create(reference="import")
    answer = client.post(page(), EVERYTHING, follow=True)
    job = Job.objects.get()
    assert answer.redirect_chain == [(reverse("admin:async_job_change", args=[job.pk]), 302)]
    assert f"Job {job.pk} is scheduled" in answer.content.decode()
    assert (job.name, json.loads(job.args)) == ("suite.jobs.note", ["<b>", 1.0])
    assert (json.loads(job.kwargs), json.loads(job.meta)) == ({"key": None}, {"timeout": 60})
    assert (job.priority, job.queue) == (-3, "slow")
    assert job.group is not None
    assert job.group.reference == "import"
    assert job.scheduled is not None
    late = timedelta(minutes=90)
    assert before + late <= job.scheduled <= clock.now("default") + late


def test_what_is_left_out_is_as_in_schedule() -> None:
    assert clerk("schedule_job").post(page(), FILLED).status_code == 302
    mine, like = Job.objects.get(), schedule(note)
    others = ("id", "added")
    columns = [field.attname for field in Job._meta.concrete_fields if field.attname not in others]
    [first, second] = Job.objects.filter(pk__in=[mine.pk, like.pk]).values_list(*columns)
    assert first == second


def test_it_is_written_into_the_log() -> None:
    clerk("schedule_job").post(page(), {**FILLED, "args": '["a\\u202eb"]'})
    entry, job = LogEntry.objects.get(), Job.objects.get()
    assert (entry.user.username, entry.action_flag) == ("clerk", ADDITION)
    assert entry.object_id == str(job.pk)
    assert "suite.jobs.note(" in entry.object_repr
    assert "\u202e" not in entry.object_repr


def test_who_may_not_see_jobs_is_led_to_what_he_may_see() -> None:
    assert clerk("schedule_job").post(page(), FILLED)["Location"] == reverse("admin:index")


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("function", "os.abort", "SCHEDULABLE"),
        ("function", "suite.jobs.gone", "gone"),
        ("function", "", "required"),
        ("args", "[1", "no JSON"),
        ("args", '{"a": 1}', "must be a list"),
        ("args", "[NaN]", "nan"),
        ("args", "[" * 100_000, "no JSON"),
        ("args", f"[{'9' * 5_000}]", "no JSON"),
        ("kwargs", "[1]", "must be a dict"),
        ("meta", '{"timeout": -1}', "timeout"),
        ("meta", '{"secret": 1}', "secret"),
        ("meta", '{"backoff": "os.abort"}', ""),
        ("at", "soon", "valid date/time"),
        ("minutes", "-5", "greater than or equal to 0"),
        ("priority", "high", "whole number"),
        ("priority", str(1 << 31), "less than or equal to"),
        ("queue", "", "required"),
        ("queue", "x" * 101, "at most 100 characters"),
        ("group", "x" * 300, "255"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_lost(field: str, value: str, complaint: str) -> None:
    sent = {**EVERYTHING, field: value}
    if field == "at":
        del sent["minutes"]
    answer = clerk("schedule_job").post(page(), sent)
    assert errors(answer)
    assert complaint in str(errors(answer)), errors(answer)
    text = answer.content.decode()
    for typed in sent.values():
        assert escape(typed) in text
    assert not Job.objects.exists()
    assert not Group.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("function", "os.abort"),
        ("args", '{"a": 1}'),
        ("kwargs", "[1]"),
        ("meta", '{"timeout": -1}'),
        ("group", "x" * 300),
    ],
)
def test_what_schedule_refuses_is_said_beside_its_field(field: str, value: str) -> None:
    answer = clerk("schedule_job").post(page(), {**FILLED, field: value})
    assert list(errors(answer)) == [field]


def test_a_moment_and_minutes_exclude_each_other() -> None:
    sent = {**EVERYTHING, "at": "2030-01-01T10:00"}
    assert "one of the two" in str(errors(clerk("schedule_job").post(page(), sent)))
    assert not Job.objects.exists()


def test_a_group_that_takes_no_more_jobs_is_said_so() -> None:
    group = Group.objects.create(reference="import")
    ended, waiting = schedule(note, group=group), schedule(note, group=group)
    now = clock.now("default")
    Job.objects.filter(pk=ended.pk).update(executed=now, started=now)
    answer = clerk("schedule_job").post(page(), {**FILLED, "group": "import"})
    assert list(errors(answer)) == ["group"]
    assert set(Job.objects.all()) == {ended, waiting}


def test_functions_that_may_be_scheduled_are_offered_and_no_others() -> None:
    names = ("suite.jobs.note", "suite.jobs.gone", "os.abort", "(others)")
    figures.put((1, 0, 60.0, "function", name, 0.1, 0.2, 300) for name in names)
    assert byhand.offers() == ["print", "suite.jobs.note"]
    text = clerk("schedule_job").get(page()).content.decode()
    assert '<option value="suite.jobs.note">' in text
    assert "os.abort" not in text


def test_without_the_setting_nothing_is_offered_and_nothing_scheduled(settings: Any) -> None:
    settings.ASYNC = {}
    assert byhand.offers() == []
    answer = clerk("schedule_job").post(page(), FILLED)
    assert list(errors(answer)) == ["function"]
    assert not Job.objects.exists()


def test_a_request_from_elsewhere_is_refused() -> None:
    clerk("schedule_job")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get())
    assert client.post(page(), FILLED).status_code == 403
    assert not Job.objects.exists()
