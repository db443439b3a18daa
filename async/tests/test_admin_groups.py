"""The admin's pages of groups: how far each has come, at a bounded cost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_async import progress, schedule
from django_async.admin.wording import NOTHING
from django_async.api import schedule_many
from django_async.models import Error, Group, Job
from suite.browsing import viewer
from suite.jobs import fail, note, nothing

pytestmark = pytest.mark.django_db

LIST = "admin:async_group_changelist"
DETAIL = "admin:async_group_change"


@pytest.fixture
def orders(flush: Callable[..., Any]) -> Group:
    """A group of six: two executed, one discarded, one failed that waits, two to come; the last one
    is the final job."""
    group = Group.objects.create(reference="orders", description="of the day")
    for function, meta in ((nothing, {}), (note, {}), (fail, {"max_attempts": 1}), (fail, {})):
        schedule(function, group=group, meta=meta)
    schedule(note, ["later"], group=group, run_after=timedelta(days=1))
    group.on_completion(schedule(note, ["final"], group=group))
    flush(keep_going=True)
    return group


def cells(client: Client) -> list[dict[str, Any]]:
    """What the columns of each row say."""
    listed = client.get(reverse(LIST))
    model_admin, rows = listed.context["cl"].model_admin, listed.context["cl"].result_list
    return [{name: getattr(model_admin, name)(row) for name in COLUMNS} for row in rows]


COLUMNS = ("progress_bar", "executed_jobs", "unexecuted_jobs", "errors", "remaining", "final_job")


def test_a_group_shows_its_progress_its_errors_and_its_final_job(
    admin_client: Client, orders: Group
) -> None:
    Group.objects.update(created=timezone.now() - timedelta(seconds=30))
    [row] = cells(admin_client)
    assert (
        '<progress value="3" max="6" aria-label="Progress of group orders">' in row["progress_bar"]
    )
    assert "3 of 6" in row["progress_bar"]
    assert (row["executed_jobs"], row["unexecuted_jobs"]) == (2, 4)
    assert "2 (2 open)" in row["errors"]
    assert row["remaining"].startswith("about 3")
    assert "suite.jobs.note(&#x27;final&#x27;)" in row["final_job"]
    assert reverse("admin:async_job_change", args=[orders.final_id]) in row["final_job"]


def test_numbers_are_those_of_the_endpoint(admin_client: Client, orders: Group) -> None:
    [row], told = cells(admin_client), progress.of(orders)
    assert told is not None
    found = progress.counts(orders)
    assert found is not None
    assert (row["executed_jobs"], row["unexecuted_jobs"], found.failed, found.failing) == tuple(
        told[f"{name}"]
        for name in (
            *("total_executed_jobs", "total_unexecuted_jobs"),
            *("total_error_jobs", "current_errors"),
        )
    )


def test_a_group_that_has_ended_says_so_and_one_without_jobs_too(admin_client: Client) -> None:
    Group.objects.create(reference="empty")
    ended = schedule(note, group="ended")
    Job.objects.filter(pk=ended.pk).update(cancelled=ended.added)
    last, first = cells(admin_client)
    assert (first["progress_bar"], first["remaining"]) == ("no jobs", NOTHING)
    assert last["remaining"] == "all have ended"


def test_of_a_large_group_the_list_counts_no_more_than_a_bound_and_its_page_all(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.counts, "__defaults__", (5,))
    monkeypatch.setattr("django_async.admin.groups._counts.__defaults__", (5,))
    schedule_many({"function": nothing, "args": [n], "group": "large"} for n in range(6))
    group = Group.objects.get()
    [row] = cells(admin_client)
    assert row["progress_bar"].endswith("jobs, not all have ended")
    assert [row[name] for name in COLUMNS[1:5]] == [NOTHING, NOTHING, NOTHING, NOTHING]
    detail = admin_client.get(reverse(DETAIL, args=[group.pk])).content.decode()
    assert "0 of 6" in detail
    Job.objects.update(cancelled=timezone.now())
    [row] = cells(admin_client)
    assert row["progress_bar"].endswith("jobs, all have ended")


def test_a_row_costs_one_statement_that_reads_a_bounded_number_of_jobs(
    admin_client: Client, orders: Group
) -> None:
    with CaptureQueriesContext(
        connection,
    ) as one:
        admin_client.get(reverse(LIST))
    for number in range(4):
        schedule(note, group=f"other {number}")
    with CaptureQueriesContext(connection) as five:
        admin_client.get(reverse(LIST))
    assert len(five) - len(one) == 4
    reads = [
        query["sql"] for query in five if "COUNT(" in query["sql"] and "cancelled" in query["sql"]
    ]
    assert len(reads) == 5
    assert all(f"LIMIT {progress.MOST + 1}" in read for read in reads)


def test_hostile_names_are_inert(admin_client: Client) -> None:
    group = Group.objects.create(reference="<script>\u202e\x07", description="<b>" + "x" * 100_000)
    group.on_completion(schedule(note, ["<script>alert(1)</script>"], group=group))
    for address in (reverse(LIST), reverse(DETAIL, args=[group.pk])):
        text = admin_client.get(address).content.decode()
        body = text[text.index('id="content"') :]
        assert "<script>\\u202e" not in body
        assert "&lt;script&gt;\\u202e\\x07" in body
        assert not {"\u202e", "\x07"} & set(text)
        assert "x" * 200 not in text


def test_who_may_look_sees_groups_and_changes_nothing(client: Client, orders: Group) -> None:
    client.force_login(viewer())
    before = list(Job.objects.order_by("pk").values()), Error.objects.count()
    for address in (reverse(LIST), reverse(DETAIL, args=[orders.pk])):
        assert client.get(address).status_code == 200
    assert client.post(reverse(DETAIL, args=[orders.pk]), {"_save": "1"}).status_code == 403
    assert (list(Job.objects.order_by("pk").values()), Error.objects.count()) == before


def test_who_may_not_look_gets_a_403(client: Client, orders: Group) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get(reverse(LIST)).status_code == 403


def test_a_groups_page_leads_to_its_jobs(admin_client: Client, orders: Group) -> None:
    schedule(nothing, ["elsewhere"])
    address = f"{reverse('admin:async_job_changelist')}?group={orders.pk}"
    assert address in admin_client.get(reverse(DETAIL, args=[orders.pk])).content.decode()
    listed = admin_client.get(address)
    assert {job.group_id for job in listed.context["cl"].result_list} == {orders.pk}
