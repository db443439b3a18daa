"""Lists of the admin that may have a million rows: what is counted of them, and said."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_async import schedule
from django_async.admin import pages
from django_async.models import Error, Group, Job
from suite.jobs import note
from suite.pages import words

pytestmark = pytest.mark.django_db

MODELS = ("error", "group")


def make(model: str, number: int) -> None:
    """So many more rows."""
    if model == "group":
        Group.objects.bulk_create([Group(reference=f"text {n}") for n in range(number)])
        return
    job = Job.objects.first() or schedule(note)
    Error.objects.bulk_create([Error(job=job, exception=f"text {n}") for n in range(number)])


def look(client: Client, model: str, **parameters: Any) -> Any:
    return client.get(reverse(f"admin:async_{model}_changelist"), parameters)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("parameters", [{}, {"q": "7"}, {"q": "text"}, {"p": "1"}])
def test_rows_are_counted_by_one_statement_that_ends_at_the_bound(
    admin_client: Client,
    model: str,
    parameters: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "COUNTED", 5)
    make(model, 8)
    with CaptureQueriesContext(connection) as seen:
        assert look(admin_client, model, **parameters).status_code == 200
    counts = [sql for one in seen if "COUNT(*)" in (sql := one["sql"])]
    assert len(counts) == 1
    assert "LIMIT 6" in counts[0]


@pytest.mark.parametrize("model", MODELS)
def test_of_more_rows_than_the_bound_it_says_that_they_are_more(
    admin_client: Client, model: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    monkeypatch.setattr(pages, "COUNTED", 1100)
    make(model, 1100)
    text = words(look(admin_client, model))
    assert f"1100 {model}s" in text
    assert "+" not in text
    make(model, 1)
    text = words(look(admin_client, model))
    assert f" 1,100+ {model}s" in text
    assert f"Select all 1,100+ {model}s" in text
    assert "All 1,100+ selected" in text
    settings.USE_THOUSAND_SEPARATOR = False
    assert f" 1,100+ {model}s" in words(look(admin_client, model))


@pytest.mark.parametrize("model", MODELS)
def test_pages_lead_to_the_rows_that_are_counted(
    admin_client: Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "COUNTED", 250)
    make(model, 300)
    listed = look(admin_client, model).context["cl"]
    last = listed.paginator.num_pages
    assert last == -(-250 // listed.list_per_page)
    rows = look(admin_client, model, p=last).context["cl"].result_list
    assert len(rows) == 250 - (last - 1) * listed.list_per_page
    beyond = look(admin_client, model, p=last + 1)
    assert (beyond.status_code, beyond["Location"]) == (
        302,
        reverse(f"admin:async_{model}_changelist") + "?e=1",
    )


@pytest.mark.parametrize("model", MODELS)
def test_an_action_on_all_of_the_list_is_done_to_what_is_not_counted_too(
    admin_client: Client, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "COUNTED", 5)
    make(model, 12)
    rows: Any = Error.objects if model == "error" else Group.objects
    chosen = {"_selected_action": rows.latest("pk").pk, "select_across": 1, "post": "yes"}
    address = reverse(f"admin:async_{model}_changelist")
    admin_client.post(address, {"action": "delete_selected", **chosen})
    assert not rows.exists()
