"""The admin shows the queue, and changes nothing in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from django_async import schedule
from django_async.api import deschedule
from django_async.models import Error, Group, Job
from suite.jobs import fail, note, nothing

pytestmark = pytest.mark.django_db

MODELS = ("job", "group", "error")


@pytest.fixture
def rows(flush: Callable[..., Any]) -> dict[str, Any]:
    """One row of each kind, the job with an error in its group."""
    group = Group.objects.create(reference="orders <b>", description="of the day")
    job = schedule(fail, ["<script>"], group=group)
    group.on_completion(job)
    flush(keep_going=True)
    schedule(note)
    schedule(nothing)
    deschedule(nothing)
    return {"job": job, "group": group, "error": Error.objects.get()}


def page(model: str, view: str, *args: Any) -> str:
    """The address of a page of the admin."""
    return reverse(f"admin:async_{model}_{view}", args=args)


@pytest.mark.parametrize("model", MODELS)
def test_lists_and_details_are_shown(admin_client: Client, rows: Any, model: str) -> None:
    listed = admin_client.get(page(model, "changelist"))
    detail = admin_client.get(page(model, "change", rows[model].pk))
    assert (listed.status_code, detail.status_code) == (200, 200)
    assert "<script>&#x27" not in listed.content.decode()


def test_a_job_is_shown_with_its_call_its_state_and_its_errors(
    admin_client: Client, rows: Any
) -> None:
    listed = admin_client.get(page("job", "changelist")).content.decode()
    assert "suite.jobs.fail(&#x27;&lt;script&gt;&#x27;)" in listed
    for word in ("failing", "due", "cancelled"):
        assert word in listed
    detail = admin_client.get(page("job", "change", rows["job"].pk)).content.decode()
    assert "ValueError(&#x27;&lt;script&gt;&#x27;)" in detail
    assert "Traceback" in detail


@pytest.mark.parametrize("model", MODELS)
def test_a_job_whose_arguments_are_no_json_is_shown_too(
    admin_client: Client, rows: Any, model: str
) -> None:
    Job.objects.filter(pk=rows["job"].pk).update(args="{no json")
    for address in (page(model, "changelist"), page(model, "change", rows[model].pk)):
        assert admin_client.get(address).status_code == 200


def test_a_group_is_shown_with_its_numbers(admin_client: Client, rows: Any) -> None:
    schedule(note, group=rows["group"])
    listed = admin_client.get(page("group", "changelist"))
    [group] = listed.context["cl"].result_list
    model_admin = listed.context["cl"].model_admin
    assert (model_admin.executed_jobs(group), model_admin.unexecuted_jobs(group)) == (0, 2)


@pytest.mark.parametrize("model", MODELS)
def test_nothing_can_be_added_or_changed(admin_client: Client, rows: Any, model: str) -> None:
    before = list(type(rows[model]).objects.order_by("pk").values())
    may_add = model == "job"  # by hand, see test_admin_adding.py
    assert admin_client.get(page(model, "add")).status_code == (200 if may_add else 403)
    assert admin_client.post(page(model, "add"), {}).status_code == (200 if may_add else 403)
    change = page(model, "change", rows[model].pk)
    assert admin_client.post(change, {"name": "os.abort", "_save": "1"}).status_code == 403
    assert list(type(rows[model]).objects.order_by("pk").values()) == before
    assert 'name="_save"' not in admin_client.get(change).content.decode()


@pytest.mark.parametrize("model", ["job", "group"])
def test_rows_can_be_searched(admin_client: Client, rows: Any, model: str) -> None:
    found = admin_client.get(page(model, "changelist"), {"q": "fail" if model == "job" else "ord"})
    assert [row.pk for row in found.context["cl"].result_list] == [rows[model].pk]


@pytest.mark.parametrize("parameters", [{"queue": "default"}, {"priority": "5"}])
def test_jobs_can_be_filtered(admin_client: Client, rows: Any, parameters: dict[str, str]) -> None:
    listed = admin_client.get(page("job", "changelist"), parameters)
    assert set(listed.context["cl"].result_list) == set(Job.objects.filter(**parameters))


@pytest.mark.parametrize("model", MODELS)
def test_staff_without_permission_see_nothing(client: Client, rows: Any, model: str) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get(page(model, "changelist")).status_code == 403
