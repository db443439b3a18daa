"""The page of one job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_async import history as history_
from django_async import schedule
from django_async.api import deschedule, schedule_many
from django_async.control import Run
from django_async.models import Error, Group, Job
from suite import shown
from suite.jobs import fail, note, nothing, parent
from suite.pages import HOSTILE, reads_large, words

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
Flush = Callable[..., Any]


@pytest.fixture(autouse=True)
def _nothing_is_shown() -> None:
    shown.clear()


def look(client: Client, pk: Any) -> Any:
    return client.get(reverse("admin:async_job_change", args=[pk]))


def happened(client: Client, job: Job) -> list[str]:
    return [event["what"] for event in look(client, job.pk).context["events"]]


def test_it_tells_what_has_become_of_a_job_in_order(admin_client: Client, flush: Flush) -> None:
    job = schedule(fail, meta={"backoff": 0})
    assert happened(admin_client, job) == ["added"]
    for _ in range(2):
        flush(keep_going=True)
    Job.objects.filter(pk=job.pk).update(name="suite.jobs.note")
    flush()
    assert happened(admin_client, job) == ["added", "failed", "failed", "executed"]
    page = look(admin_client, job.pk)
    for text in ("attempt 1", "attempt 2", "attempt 3", "ValueError('failed')", "Traceback (most"):
        assert text in words(page).replace("&#x27;", "'")
    assert '"noted"' in words(page).replace("&quot;", '"')
    [_, first, _, executed] = page.context["events"]
    assert first["took"]
    assert executed["took"]
    assert first["by"].split()[0] == executed["by"].split()[0]


@pytest.mark.parametrize("end", ["cancelled", "discarded"])
def test_it_tells_how_a_job_was_given_up(admin_client: Client, flush: Flush, end: str) -> None:
    job = schedule(fail, meta={"max_attempts": 1})
    if end == "cancelled":
        deschedule(fail)
    flush(keep_going=True)
    expected = ["added", *(["failed"] if end == "discarded" else []), end]
    assert happened(admin_client, job) == expected


def test_of_many_attempts_the_latest_are_told_and_the_others_counted(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_, "SHOWN", 3)
    job = schedule(fail)
    Error.objects.bulk_create(
        Error(job=job, exception=f"error {n}", traceback="") for n in range(1, 8)
    )
    events = look(admin_client, job.pk).context["events"]
    assert [event["number"] for event in events] == [None, 4, 5, 6, 7]
    assert [event["exception"] for event in events[2:]] == ["error 5", "error 6", "error 7"]


def test_it_leads_to_the_group_and_to_the_job_that_scheduled_it(
    admin_client: Client, flush: Flush
) -> None:
    group = Group.objects.create(reference="<b>")
    first = schedule(parent, [1])
    last = schedule(note, group=group)
    group.on_completion(last)
    flush()
    child = Job.objects.get(scheduled_by=first.pk)
    page = words(look(admin_client, child.pk))
    assert f"{first.pk}: suite.jobs.parent(1)" in page
    Job.objects.filter(pk=first.pk).delete()
    assert f"job {first.pk}, which is gone" in words(look(admin_client, child.pk))
    finals = look(admin_client, last.pk).content.decode()
    assert "Final job of" in finals
    assert reverse("admin:async_group_change", args=[group.pk]) in finals
    assert "<bdi><b>" not in finals


def test_it_shows_the_neighbours_in_the_queue(admin_client: Client) -> None:
    jobs = [schedule(nothing, [n], priority=n) for n in range(9)]
    rows = look(admin_client, jobs[4].pk).context["neighbours"]
    assert [row["id"] for row in rows] == [job.pk for job in jobs[7:0:-1]]


def test_of_a_job_that_runs_it_shows_where_and_how_far(admin_client: Client) -> None:
    job = schedule(note)
    run = Run(job.pk, 2, 4711, 30.0, {"done": 1, "total": 4, "message": "half of a half"})
    with shown.living(run):
        page = look(admin_client, job.pk)
    assert page.context["state"] == "running"
    assert "in process 4711; attempt 2. 25 % half of a half" in words(page)


def test_hostile_arguments_results_and_errors_are_inert(admin_client: Client) -> None:
    job = schedule(nothing, HOSTILE, {"text": HOSTILE[0]}, meta={"mine": HOSTILE[1]})
    Job.objects.filter(pk=job.pk).update(result=HOSTILE[0] + HOSTILE[2])
    Error.objects.create(job=job, exception=HOSTILE[0], traceback=HOSTILE[1], worker=HOSTILE[2])
    page = look(admin_client, job.pk).content.decode()
    for text in ("<script>document", "<img src", "\u202e", "\x07", "\x1b"):
        assert text not in page
    assert len(page) < 200_000
    assert "The first 20,000 of 1,000," in page


def test_nothing_large_is_read_whole_of_the_job_or_of_those_around_it(
    admin_client: Client,
) -> None:
    jobs = schedule_many({"function": nothing, "args": ["x" * 900]} for _ in range(5))
    asked = {"action": "retry", "index": "0", "_selected_action": [job.pk for job in jobs]}
    for ask in (
        lambda: look(admin_client, jobs[2].pk),
        lambda: admin_client.post(reverse("admin:async_job_changelist"), asked),
    ):
        with CaptureQueriesContext(connection) as seen:
            page = ask().content.decode()
        assert "suite.jobs.nothing" in page
        assert not [one["sql"] for one in seen if reads_large(one["sql"])]


def test_a_job_whose_arguments_are_no_json_is_shown(admin_client: Client) -> None:
    job = schedule(note)
    Job.objects.filter(pk=job.pk).update(args="{no json", kwargs="[]")
    assert "{no json" in words(look(admin_client, job.pk))


def test_it_costs_as_many_statements_for_many_attempts_as_for_one(admin_client: Client) -> None:
    job = schedule(fail)
    numbers = []
    look(admin_client, job.pk)
    for more in (1, 30):
        Error.objects.bulk_create(Error(job=job, exception="e", traceback="t") for _ in range(more))
        schedule_many({"function": nothing, "priority": 5} for _ in range(more * 3))
        with CaptureQueriesContext(connection) as seen:
            look(admin_client, job.pk)
        numbers.append(len(seen))
    assert numbers[1] <= numbers[0]


@pytest.mark.parametrize("pk", ["0", "x", "-1", "9" * 18, "9" * 40, "1_0", "\u0661"])
def test_what_is_no_job_leads_back(admin_client: Client, pk: str) -> None:
    assert look(admin_client, pk).status_code == 302


def offered(page: Any) -> list[str]:
    return [verb.name for verb in page.context["verbs"]]


def test_what_can_be_done_to_a_job_depends_on_its_state_and_on_who_looks(
    admin_client: Client, client: Client, flush: Flush
) -> None:
    done = schedule(note)
    flush()
    waits, gone = schedule(note, run_after=HOUR), schedule(nothing)
    deschedule(nothing)
    everything = ["retry", "reschedule", "prioritise", "move", "cancel", "discard"]
    assert offered(look(admin_client, waits.pk)) == everything
    assert offered(look(admin_client, gone.pk)) == ["retry", "reschedule"]
    assert offered(look(admin_client, done.pk)) == []
    with shown.living(Run(waits.pk, 1, 4711, 30.0)):
        assert offered(look(admin_client, waits.pk)) == ["cancel"]
    shown.clear()
    user = User.objects.create_user("clerk", is_staff=True)
    codes = ["view_job", "cancel_job"]
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client.force_login(user)
    assert offered(look(client, waits.pk)) == ["cancel"]


def test_a_button_asks_and_then_does_it(admin_client: Client) -> None:
    job = schedule(note, run_after=HOUR)
    asked = {"action": "cancel", "index": "0", "_selected_action": str(job.pk)}
    page = admin_client.post(reverse("admin:async_job_changelist"), asked)
    assert "One job is chosen." in words(page)
    admin_client.post(reverse("admin:async_job_changelist"), {**asked, "confirmed": "1"})
    job.refresh_from_db()
    assert job.state == "cancelled"


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_it_only_looks(admin_client: Client, method: str) -> None:
    job = schedule(note)
    address = reverse("admin:async_job_change", args=[job.pk])
    assert getattr(admin_client, method)(address).status_code == 403
    assert Job.objects.get(pk=job.pk).state == "due"


def test_staff_without_permission_see_nothing(client: Client) -> None:
    job = schedule(note)
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert look(client, job.pk).status_code == 403
