"""The admin's page of errors by function and kind, and "retry all of a kind"."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse

from django_async import recurring, schedule
from django_async.api import schedule_many
from django_async.models import Error, Job
from suite.browsing import viewer
from suite.jobs import fail, note, nothing
from suite.spying import each_statement

# On commits, since MySQL's ANALYZE commits.
pytestmark = pytest.mark.django_db(transaction=True)

KINDS, RETRY = "admin:async_error_kinds", "admin:async_error_retry"
WHICH = {"name": "suite.jobs.fail", "kind": "builtins.ValueError"}


@pytest.fixture
def failures(flush: Callable[..., Any]) -> list[Job]:
    """Three jobs that raised the same, the last one discarded, and one of another kind."""
    jobs = [schedule(fail, [f"<b>{n}"], meta={"max_attempts": 1 + (n < 2)}) for n in range(3)]
    other = schedule(note)
    flush(keep_going=True)
    other.errors.create(exception="KeyError('x')", traceback="", kind="KeyError")
    return jobs


def rows(client: Client) -> list[dict[str, Any]]:
    """What the page says of each kind."""
    found: list[dict[str, Any]] = client.get(reverse(KINDS)).context["rows"]
    return found


def post(client: Client, **data: str) -> Any:
    """Press the button."""
    return client.post(reverse(RETRY), data)


def retrier() -> User:
    """Somebody who may look, and retry jobs."""
    user = viewer()
    user.user_permissions.add(Permission.objects.get(codename="retry_job"))
    return user


def test_errors_are_grouped_by_function_and_kind_the_last_one_first(
    admin_client: Client, failures: list[Job]
) -> None:
    other, values = rows(admin_client)
    assert (other["name"], other["kind"], other["count"]) == ("suite.jobs.note", "KeyError", "1")
    assert (values["name"], values["kind"], values["count"]) == (*WHICH.values(), "3")
    stamps = list(
        Error.objects.filter(kind="builtins.ValueError").values_list("executed", flat=True)
    )
    assert (values["first"], values["last"]) == (min(stamps), max(stamps))
    assert values["exception"] == "ValueError('<b>2')"
    assert values["traceback"].startswith("Traceback")
    assert values["job"] == failures[2].pk


def test_a_kind_leads_to_the_jobs_of_its_function(
    admin_client: Client, failures: list[Job]
) -> None:
    address = reverse("admin:async_job_changelist")
    link = rows(admin_client)[1]["jobs"]
    assert link == f"{address}?function=suite.jobs.fail"
    assert set(admin_client.get(link).context["cl"].result_list) == set(failures)


def test_a_row_without_a_kind_and_a_queue_without_errors_are_shown(admin_client: Client) -> None:
    assert "There are no errors." in admin_client.get(reverse(KINDS)).content.decode()
    schedule(note).errors.create(exception="old", traceback="")
    assert rows(admin_client)[0]["shown_kind"] == "not recorded"


def test_only_the_latest_errors_and_kinds_are_shown(
    admin_client: Client, failures: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurring, "LATEST", 3)
    assert [row["count"] for row in rows(admin_client)] == ["1", "2"]
    monkeypatch.setattr(recurring, "KINDS", 1)
    page = admin_client.get(reverse(KINDS))
    assert (len(page.context["rows"]), page.context["are_more"]) == (1, True)


def test_it_asks_before_it_retries(admin_client: Client, failures: list[Job]) -> None:
    before = list(Job.objects.order_by("pk").values())
    asked = post(admin_client, **WHICH)
    assert (asked.status_code, asked.context["number"]) == (200, 3)
    assert list(Job.objects.order_by("pk").values()) == before
    assert not LogEntry.objects.exists()


def test_all_failed_jobs_of_the_kind_are_retried_and_no_others(
    admin_client: Client, failures: list[Job]
) -> None:
    tomorrow = failures[0].added + timedelta(days=1)
    others = [schedule(nothing, run_after=tomorrow).pk, schedule(fail, run_after=tomorrow).pk]
    Job.objects.filter(pk=failures[0].pk).update(scheduled=tomorrow)
    answer = post(admin_client, **WHICH, confirm="yes")
    assert (answer.status_code, answer["Location"]) == (302, reverse(KINDS))
    assert set(Job.objects.due()) == set(failures)
    assert Job.objects.filter(pk__in=others, scheduled=tomorrow).count() == 2
    assert "3 jobs were retried." in admin_client.get(reverse(KINDS)).content.decode()


def test_it_is_logged(admin_client: Client, failures: list[Job]) -> None:
    post(admin_client, **WHICH, confirm="yes")
    [entry] = LogEntry.objects.all()
    assert entry.object_repr == "suite.jobs.fail: builtins.ValueError"
    assert (entry.change_message, entry.user.get_username()) == ("3 jobs were retried.", "admin")
    assert admin_client.get("/admin/").status_code == 200


def test_more_than_a_portion_is_retried(
    admin_client: Client, failures: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurring, "CHUNK", 2)
    post(admin_client, **WHICH, confirm="yes")
    assert set(Job.objects.due()) == set(failures)


def test_who_may_only_look_sees_the_page_and_gets_a_403_for_a_retry(
    client: Client, failures: list[Job]
) -> None:
    client.force_login(viewer())
    page = client.get(reverse(KINDS))
    assert (page.status_code, "Retry all" in page.content.decode()) == (200, False)
    before = list(Job.objects.order_by("pk").values())
    for data in (WHICH, {**WHICH, "confirm": "yes"}):
        assert post(client, **data).status_code == 403
    assert list(Job.objects.order_by("pk").values()) == before


def test_who_has_the_permission_may_retry(client: Client, failures: list[Job]) -> None:
    client.force_login(retrier())
    assert "Retry all" in client.get(reverse(KINDS)).content.decode()
    assert post(client, **WHICH, confirm="yes").status_code == 302
    assert set(Job.objects.due()) == set(failures)


def test_who_may_not_look_gets_a_403(client: Client, failures: list[Job]) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get(reverse(KINDS)).status_code == 403
    assert post(client, **WHICH, confirm="yes").status_code == 403


def test_get_changes_nothing_and_the_page_takes_no_post(
    admin_client: Client, failures: list[Job]
) -> None:
    before = list(Job.objects.order_by("pk").values())
    assert admin_client.get(reverse(RETRY), {**WHICH, "confirm": "yes"}).status_code == 405
    assert admin_client.post(reverse(KINDS)).status_code == 405
    assert list(Job.objects.order_by("pk").values()) == before


def test_a_retry_from_elsewhere_is_refused(failures: list[Job]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    assert post(client, **WHICH, confirm="yes").status_code == 403
    assert set(Job.objects.discarded()) == {failures[2]}


@pytest.mark.parametrize("data", [{}, {"kind": "builtins.ValueError"}, {"name": "a\0"}])
def test_a_retry_of_nothing_in_particular_is_refused(
    admin_client: Client, data: dict[str, str]
) -> None:
    assert post(admin_client, **data, confirm="yes").status_code == 400


def test_hostile_texts_are_inert(admin_client: Client) -> None:
    job = schedule(note)
    Job.objects.update(name='<script>"\u202e')
    text = "<script>\x07\u202e" + "y" * 1_000_000
    job.errors.create(exception=text, traceback=f"one\n{text}", kind="<img src=x>\u202e")
    which = {"name": '<script>"\u202e', "kind": "<img src=x>\u202e"}
    for page in (admin_client.get(reverse(KINDS)), post(admin_client, **which)):
        content = page.content.decode()
        body = content[content.index('id="async-kinds"') :]
        assert "<script>" not in body
        assert "<img" not in body
        assert len(content) < 60_000
        shown = body.replace('value="&lt;script&gt;&quot;\u202e"', "")
        assert not {"\u202e", "\x07"} & set(shown.replace('value="&lt;img src=x&gt;\u202e"', ""))


def test_no_table_is_read_from_end_to_end(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurring, "LATEST", 50)
    jobs = schedule_many({"function": nothing, "args": [number]} for number in range(4000))
    Error.objects.bulk_create(
        [Error(job=job, exception="x", traceback="y", kind=f"K{job.pk % 7}") for job in jobs]
    )
    with connection.cursor() as cursor:
        for statement in ANALYZE[connection.vendor]:
            cursor.execute(statement)
    seen: list[str] = []

    def see(sql: str, params: Any) -> None:
        if sql.startswith("SELECT"):
            seen.append(sql)
            assert_by_index(sql, params)

    with each_statement(see):
        found, _ = recurring.kinds()
        recurring.jobs_of("suite.jobs.nothing", "K1")
    assert sum(kind.count for kind in found) == 50
    assert len(seen) == 5


ANALYZE = {
    "postgresql": ["ANALYZE"],
    "sqlite": ["ANALYZE"],
    "mysql": ["ANALYZE TABLE async_job", "ANALYZE TABLE async_error"],
}


def assert_by_index(sql: str, params: Any) -> None:
    """The database's own word: every table is read through an index, and a part of it."""
    how = {"postgresql": "EXPLAIN (FORMAT JSON)", "sqlite": "EXPLAIN QUERY PLAN"}
    with connection.cursor() as cursor:
        cursor.execute(f"{how.get(connection.vendor, 'EXPLAIN FORMAT=JSON')} {sql}", params)
        plan = json.dumps(cursor.fetchall(), default=str)
    assert "Seq Scan" not in plan, plan
    assert "SCAN async_job" not in plan, plan
    assert '\\"access_type\\": \\"ALL\\"' not in plan, plan
    # On SQLite a walk along the primary key is a scan of the table, that ends with the limit.
    assert "SCAN async_error" not in plan or "LIMIT 50" in sql, plan
