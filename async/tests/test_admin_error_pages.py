"""The admin's list of errors and the page of one: what they say, and what they read for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_async import recurring, schedule
from django_async.models import Error, Job
from suite.browsing import viewer
from suite.jobs import fail, note

pytestmark = pytest.mark.django_db

LIST = "admin:async_error_changelist"
HOSTILE = "<script>\u202e\x07\nsecond"


@pytest.fixture
def error(flush: Callable[..., Any]) -> Error:
    """That of a job that has raised."""
    schedule(fail, ["<b>"])
    flush(keep_going=True)
    return Error.objects.get()


def content(client: Client, address: str) -> str:
    text = client.get(address).content.decode()
    return text[text.index('id="content"') :]


def page(error: Error) -> str:
    return reverse("admin:async_error_change", args=[error.pk])


def found(client: Client, text: str) -> list[int]:
    """The errors that a search finds."""
    return [one.pk for one in client.get(reverse(LIST), {"q": text}).context["cl"].result_list]


def add(number: int, **columns: Any) -> list[Error]:
    """Errors, each of a job of its own."""
    values = {"exception": "Lost('it')", "traceback": "Traceback", "kind": "suite.Lost", **columns}
    return [Error.objects.create(job=schedule(note, [n]), **values) for n in range(number)]


def test_the_list_says_what_which_job_and_where(client: Client, error: Error) -> None:
    client.force_login(viewer())
    listed = content(client, reverse(LIST))
    job = reverse("admin:async_job_change", args=[error.job_id])
    assert f'<a href="{job}"><bdi>suite.jobs.fail</bdi> ({error.job_id})</a>' in listed
    assert "<bdi>ValueError(&#x27;&lt;b&gt;&#x27;)</bdi>" in listed
    assert "<bdi>builtins.ValueError</bdi>" in listed
    assert str(error.worker) in listed
    assert page(error) in listed


def test_the_page_of_one_says_all_and_folds_the_traceback(client: Client, error: Error) -> None:
    client.force_login(viewer())
    shown = content(client, page(error))
    assert "ValueError(&#x27;&lt;b&gt;&#x27;)" in shown
    folded = shown[shown.index("<details>") : shown.index("</details>")]
    assert "Traceback (most recent call last)" in folded
    assert "raise ValueError" in folded
    assert "<script" not in folded
    assert "style=" not in folded


def test_of_a_row_of_old_nothing_is_made_up(admin_client: Client, error: Error) -> None:
    Error.objects.update(kind=None, worker=None, started=None)
    for address in (reverse(LIST), page(error)):
        assert "not recorded" in content(admin_client, address)


def test_hostile_texts_are_inert_and_shortened_in_the_list(admin_client: Client) -> None:
    text = HOSTILE + "x" * 90_000
    [error] = add(1, exception=text, traceback=text, kind=HOSTILE, worker=HOSTILE)
    Job.objects.update(name=HOSTILE)
    listed, shown = content(admin_client, reverse(LIST)), content(admin_client, page(error))
    for body in (listed, shown):
        assert "<script>\\" not in body
        assert "&lt;script&gt;\\u202e\\x07" in body
        assert not {"\u202e", "\x07"} & set(body)
    assert len(listed) < 20_000
    assert shown.count("x" * 90_000) == 2


def test_no_traceback_is_read_for_the_list_and_a_row_costs_no_statement(
    admin_client: Client,
) -> None:
    add(1)
    admin_client.get(reverse(LIST))
    with CaptureQueriesContext(connection) as one:
        admin_client.get(reverse(LIST))
    add(7)
    with CaptureQueriesContext(connection) as eight:
        admin_client.get(reverse(LIST))
    assert len(one) == len(eight)
    assert not [query["sql"] for query in eight if "traceback" in query["sql"]]
    assert not [query["sql"] for query in eight if "kwargs" in query["sql"]]


def test_errors_are_found_by_their_job(admin_client: Client) -> None:
    first, second = add(2)
    Error.objects.filter(pk=second.pk).update(exception=f"Lost({first.job_id})")
    assert found(admin_client, f" {first.job_id} ") == [first.pk]
    assert found(admin_client, "9" * 18) == []
    assert found(admin_client, "9" * 40) == []


def test_a_text_is_looked_for_among_the_latest_errors_alone(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurring, "LATEST", 3)
    _, second, third, fourth = add(4)
    assert found(admin_client, "lost(") == [fourth.pk, third.pk, second.pk]
    assert found(admin_client, "suite.LOST") == [fourth.pk, third.pk, second.pk]
    assert found(admin_client, "found") == []
    assert found(admin_client, "  ") == [error.pk for error in Error.objects.order_by("-pk")]
