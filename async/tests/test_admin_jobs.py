"""The list of jobs: what it can be narrowed to, what is found, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_async import clock, lookup, schedule
from django_async.admin.filters import STATES
from django_async.api import deschedule, schedule_many
from django_async.control import Run
from django_async.errors import NoticesUnavailable
from django_async.models import Group, Job
from suite import costs, shown
from suite.jobs import fail, note, nothing
from suite.pages import reads_large, words

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
Flush = Callable[..., Any]


@pytest.fixture(autouse=True)
def _nothing_is_shown() -> None:
    shown.clear()


@pytest.fixture
def jobs(flush: Flush) -> dict[str, Job]:
    """One job in each state, told apart by their queues, priorities and functions."""
    made = {
        "executed": schedule(note, ["of old"]),
        "failing": schedule(fail, meta={"backoff": 3600}),
        "discarded": schedule(fail, ["for good"], meta={"max_attempts": 1}, queue="once"),
    }
    flush(keep_going=True)
    made["cancelled"] = schedule(nothing, ["no more"])
    deschedule(nothing, ["no more"])
    made["due"] = schedule(note, ["M\u00fcnchen"], queue="mail", priority=7)
    made["scheduled"] = schedule(note, kwargs={"text": "later"}, run_after=HOUR, priority=7)
    return {state: Job.objects.get(pk=job.pk) for state, job in made.items()}


def look(client: Client, **parameters: Any) -> Any:
    return client.get(reverse("admin:async_job_changelist"), parameters)


def listed(client: Client, **parameters: Any) -> list[int]:
    page = look(client, **parameters)
    assert page.status_code == 200
    return [job.pk for job in page.context["cl"].result_list]


@pytest.mark.parametrize("state", [state for state in STATES if state != "running"])
def test_jobs_are_listed_by_their_state(
    admin_client: Client, jobs: dict[str, Job], state: str
) -> None:
    expected = [jobs[state].pk]
    if state == "scheduled":  # and so is one that has failed, until its next attempt
        expected += [jobs["failing"].pk]
    assert listed(admin_client, state=state) == expected
    assert f"async-chip async-{state}" in look(admin_client, state=state).content.decode()


def test_what_runs_is_listed_as_running_also_in_a_transaction(admin_client: Client) -> None:
    jobs = [schedule(note) for _ in range(3)]
    with shown.living(Run(jobs[1].pk, 1, 4711, 30.0)):
        assert listed(admin_client, state="running") == [jobs[1].pk]
        page = look(admin_client)
    assert page.content.decode().count("async-chip async-running") == 1


def test_where_nobody_knows_what_runs_the_list_is_there_all_the_same(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = schedule(note)

    def raise_unavailable(using: str) -> None:
        raise NoticesUnavailable("no file")

    monkeypatch.setattr("django_async.roster.entries", raise_unavailable)
    assert listed(admin_client) == [job.pk]
    assert listed(admin_client, state="running") == []
    assert "What runs cannot be read." in words(look(admin_client))


@pytest.mark.parametrize(
    ("parameters", "condition"),
    [
        ({"queue": "mail"}, Q(queue="mail")),
        ({"function": "suite.jobs.note"}, Q(name="suite.jobs.note")),
        ({"function": "suite.jobs."}, Q()),
        ({"function": "suite.jobs"}, Q(pk=None)),
        ({"priority": "7"}, Q(priority=7)),
        ({"priority": "7", "state": "scheduled"}, Q(priority=7, scheduled__isnull=False)),
        ({"queue": "mail", "state": "executed"}, Q(pk=None)),
        ({"age": "hour"}, Q()),
        ({"age": "before-day"}, Q(pk=None)),
        ({"q": "note"}, Q(name="suite.jobs.note")),
        ({"q": "OF OLD"}, Q(args='["of old"]')),
        ({"q": "M\u00fcnchen"}, Q(queue="mail")),
        ({"q": "later", "state": "due"}, Q(pk=None)),
        ({"q": "1", "state": "running"}, Q(pk=None)),
        ({"queue": "mail", "reference": "none"}, Q(pk=None)),
        ({"q": "suite.jobs.note(text='later')"}, Q(priority=7, queue="default")),
        ({"q": "suite.jobs.note('of old')"}, Q(args='["of old"]')),
        ({"q": "'; DROP TABLE async_job; --"}, Q(pk=None)),
        ({"q": "100%_"}, Q(pk=None)),
    ],
)
def test_it_can_be_narrowed_and_searched(
    admin_client: Client, jobs: dict[str, Job], parameters: dict[str, str], condition: Q
) -> None:
    expected = Job.objects.filter(condition).order_by("-pk").values_list("pk", flat=True)
    assert sorted(listed(admin_client, **parameters), reverse=True) == list(expected)


def test_a_job_is_found_by_its_id_beside_those_that_mention_the_number(
    admin_client: Client, jobs: dict[str, Job]
) -> None:
    job = jobs["executed"]
    other = schedule(nothing, [job.pk])
    schedule(nothing, ["else"])
    assert set(listed(admin_client, q=str(job.pk))) >= {job.pk, other.pk}
    assert listed(admin_client, q=str(2**63 - 1)) == listed(admin_client, q="9" * 40) == []


def test_a_job_is_found_by_the_id_of_its_task(admin_client: Client) -> None:
    job = schedule(note)
    Job.objects.filter(pk=job.pk).update(task_id="0123456789abcdef" * 2)
    schedule(note)
    assert listed(admin_client, q="0123456789abcdef" * 2) == [job.pk]


def test_the_jobs_of_a_group_are_listed_by_its_id_and_by_its_reference(
    admin_client: Client,
) -> None:
    group = Group.objects.create(reference="orders <b>")
    mine = [schedule(note, group=group).pk for _ in range(2)]
    schedule(note)
    assert listed(admin_client, group=group.pk) == mine[::-1]
    assert listed(admin_client, reference="orders <b>") == mine[::-1]
    assert listed(admin_client, reference="orders", state="due") == []
    assert listed(admin_client, group=group.pk, state="due", queue="default") == mine
    assert "orders &lt;b&gt;" in look(admin_client, group=group.pk).content.decode()


def test_days_lead_to_what_ended_then(admin_client: Client, jobs: dict[str, Job]) -> None:
    today = clock.now("default")
    old = schedule(note)
    then = today - timedelta(days=800)
    Job.objects.filter(pk=old.pk).update(started=then, executed=then)
    assert listed(admin_client, ended=f"{then:%Y}") == [old.pk]
    assert listed(admin_client, ended=f"{then:%Y-%m-%d}", queue="default") == [old.pk]
    assert listed(admin_client, ended=f"{then:%Y}", state="cancelled") == []
    assert f"?ended={then:%Y}" in look(admin_client).content.decode()
    month = look(admin_client, ended=f"{then:%Y-%m}").content.decode()
    assert f"?ended={then:%Y-%m-%d}" in month


@pytest.mark.parametrize("state", ["due", "running", "scheduled", "failing"])
def test_what_has_not_ended_ended_at_no_time(
    admin_client: Client, jobs: dict[str, Job], state: str
) -> None:
    assert listed(admin_client, state=state, ended=f"{clock.now('default'):%Y}") == []


def test_it_works_without_time_zones(
    admin_client: Client, jobs: dict[str, Job], settings: Any
) -> None:
    settings.USE_TZ = False
    assert len(listed(admin_client, ended=f"{clock.now('default'):%Y}")) == 1
    assert len(listed(admin_client)) == len(jobs)


def test_what_is_to_be_handed_out_is_listed_in_that_order(admin_client: Client) -> None:
    last, first, second = (
        schedule(note, priority=priority, run_after=when)
        for priority, when in ((3, None), (9, -HOUR), (9, None))
    )
    assert listed(admin_client, state="due") == [first.pk, second.pk, last.pk]
    later = [schedule(note, run_after=HOUR * n).pk for n in (2, 1, 3)]
    assert listed(admin_client, state="scheduled") == [later[1], later[0], later[2]]


@pytest.mark.parametrize(
    "parameters",
    [
        *({"state": "bogus"}, {"priority": "high"}, {"priority": "99999999999"}, {"age": "old"}),
        *({"ended": "2026-02-30"}, {"group": "x"}, {"group": "9" * 30}, {"queue": "a\0b"}),
        *({"nonsense": "1"}, {"p": "77777"}),
    ],
)
def test_an_address_that_makes_no_sense_leads_back_to_the_list(
    admin_client: Client, parameters: dict[str, str]
) -> None:
    schedule_many({"function": nothing} for _ in range(150))
    answer = look(admin_client, **parameters)
    assert (answer.status_code, answer.url) == (302, f"{reverse('admin:async_job_changelist')}?e=1")


def test_no_column_can_be_sorted_by(admin_client: Client) -> None:
    jobs = [schedule(note, priority=priority).pk for priority in (5, 1, 9)]
    assert listed(admin_client, o="4") == jobs[::-1]
    assert "?o=" not in look(admin_client).content.decode()


@pytest.fixture
def short_sighted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were a thousand times as many jobs."""
    monkeypatch.setattr(lookup, "LOOKED_AT", 50)
    monkeypatch.setattr(lookup, "FIRST", 20)
    monkeypatch.setattr(lookup, "FOUND", 10)


def test_where_not_all_is_looked_at_the_page_says_so(
    admin_client: Client, short_sighted: None
) -> None:
    first = schedule(nothing, ["the first"], priority=9)
    schedule_many({"function": nothing, "args": [n]} for n in range(49))
    assert listed(admin_client, q="the first") == [first.pk]
    assert "Looked at" not in words(look(admin_client, q="the first"))
    schedule_many({"function": nothing, "args": [n]} for n in range(10))
    assert listed(admin_client, q="the first") == []
    assert "Looked at: the first 50 jobs." in words(look(admin_client, q="the first"))
    assert listed(admin_client, q=f"{first.pk}")[-1] == first.pk


@pytest.mark.parametrize(("state", "when"), [("due", None), ("scheduled", HOUR)])
def test_no_more_is_looked_at_of_many_priorities_than_of_one(
    admin_client: Client, short_sighted: None, state: str, when: timedelta | None
) -> None:
    for priority in range(6):
        schedule_many(
            {"function": nothing, "priority": priority, "run_after": when} for _ in range(10)
        )
    lowest = schedule(note, ["the last"], priority=0, run_after=when)
    assert listed(admin_client, state=state, q="the last") == []
    assert "Looked at: the first 50 jobs." in words(look(admin_client, state=state, q="the last"))
    Job.objects.filter(priority=5).delete()
    Job.objects.filter(priority=4).delete()
    assert listed(admin_client, state=state, q="the last") == [lowest.pk]


def test_of_more_than_is_told_the_page_says_that_there_are_more(
    admin_client: Client, short_sighted: None
) -> None:
    schedule_many({"function": nothing} for _ in range(11))
    page = look(admin_client, queue="default")
    assert len(page.context["cl"].result_list) == 10
    assert "More than 10 jobs match: these are the first 10." in words(page)
    assert len(listed(admin_client)) == 11


def test_an_action_on_all_is_done_to_all_that_match_and_not_only_to_what_is_told(
    admin_client: Client, short_sighted: None
) -> None:
    schedule_many({"function": nothing, "queue": "mail"} for _ in range(60))
    schedule_many({"function": nothing} for _ in range(5))
    answer = admin_client.post(
        f"{reverse('admin:async_job_changelist')}?queue=mail",
        {
            "action": "cancel",
            "select_across": "1",
            "index": "0",
            "confirmed": "1",
            "_selected_action": str(Job.objects.filter(queue="mail")[0].pk),
        },
    )
    assert answer.status_code == 302
    assert Job.objects.cancelled().count() == 60
    assert Job.objects.due().count() == 5


def test_one_page_costs_as_many_statements_for_many_jobs_as_for_one(admin_client: Client) -> None:
    group = Group.objects.create(reference="orders")
    numbers = []
    look(admin_client)
    for more in (1, 90):
        schedule_many({"function": note, "args": ["x" * 900], "group": group} for _ in range(more))
        with CaptureQueriesContext(connection) as seen:
            look(admin_client)
        numbers.append(len(seen))
    assert numbers[0] == numbers[1]


def test_arguments_are_read_and_shown_no_further_than_they_are_told(admin_client: Client) -> None:
    schedule(note, ["<script>alert(1)</script>\u202e\x07" + "x" * 1_000_000])
    with CaptureQueriesContext(connection) as seen:
        page = look(admin_client).content.decode()
    assert len(page) < 200_000
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert any("beginning_of_args" in one["sql"] for one in seen)
    assert not [one["sql"] for one in seen if reads_large(one["sql"])]


PAGES: tuple[dict[str, str], ...] = (
    {},
    {"state": "executed"},
    {"state": "due"},
    {"state": "scheduled"},
    {"state": "failing"},
    {"state": "discarded"},
    {"queue": "nowhere"},
    {"function": "shop.f7", "state": "executed"},
    {"q": "nowhere"},
    {"q": "17"},
    {"ended": "2026"},
    {"age": "hour"},
)


def _fill(number: int) -> None:
    """So many executed jobs, and a tenth of it that are due and for later."""
    made = schedule_many({"function": nothing, "args": [n]} for n in range(number))
    for place, job in enumerate(made):
        job.started = job.executed = job.added + timedelta(milliseconds=place)
    Job.objects.bulk_update(made, ["started", "executed"], batch_size=500)
    for when in (None, HOUR):
        schedule_many({"function": note, "run_after": when} for _ in range(number // 10))


def test_the_cost_of_a_page_does_not_grow_with_the_number_of_jobs(
    admin_client: Client, short_sighted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_async.admin.pages.COUNTED", 300)
    monkeypatch.setattr("django_async.census.EXACT", 50)
    found = []
    for number in (1_000, 4_000):
        _fill(number)
        costs.analyse()
        found.append([costs.cost(lambda at=at: look(admin_client, **at)) for at in PAGES])  # type: ignore[misc]
    grown = {
        str(page): (small, large)
        for page, small, large in zip(PAGES, *found, strict=True)
        if large > 1.3 * small + 200
    }
    assert not grown
