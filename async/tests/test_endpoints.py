"""The endpoints: who may ask for what, and what is answered to the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils import timezone

from django_async import schedule
from django_async.api import health
from django_async.endpoints import LARGEST_BODY
from django_async.models import Group, Job
from django_async.slots import QUEUE
from suite import figures, jobs, shown

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "s3cret-" * 5
READ = ("health", "progress", "metrics")
NAMES = (*READ, "live", "schedule")


@pytest.fixture(autouse=True)
def _included(settings: Any) -> None:
    settings.ROOT_URLCONF = "suite.endpoint_urls"
    settings.ASYNC = {"SCHEDULABLE": ["suite.jobs.note", "suite.jobs.nothing"]}
    shown.clear()


def url(name: str) -> str:
    """The address of an endpoint."""
    kwargs = {"reference": "orders"} if name == "progress" else {}
    return reverse(f"django_async:{name}", kwargs=kwargs)


def user(*permissions: str) -> User:
    """Somebody with these permissions, who need not be staff."""
    made = User.objects.create_user("machine")
    found = Permission.objects.filter(content_type__app_label="async", codename__in=permissions)
    made.user_permissions.set(found)
    return made


@pytest.fixture
def reader(client: Client) -> Client:
    """Somebody who may look."""
    client.force_login(user("view_job"))
    return client


@pytest.fixture
def adder(client: Client) -> Client:
    """Somebody who may add jobs."""
    client.force_login(user("add_job"))
    return client


def post(client: Client, data: Any, **headers: str) -> Any:
    """What is answered to a request to schedule this."""
    body = data if isinstance(data, (bytes, str)) else json.dumps(data)
    return client.post(url("schedule"), body, "application/json", headers=headers)


def refused(answer: Any, status: int, said: str) -> None:
    """It is an answer of that status, whose JSON names what is wrong."""
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")
    assert set(answer.json()) == {"error"}
    assert said in answer.json()["error"]


def test_they_are_not_there_unless_they_are_included(settings: Any) -> None:
    settings.ROOT_URLCONF = "suite.urls"
    with pytest.raises(NoReverseMatch):
        url("health")
    with pytest.raises(Resolver404):
        resolve("/async/health/")


@pytest.mark.parametrize("name", READ)
def test_who_is_nobody_is_refused(client: Client, name: str) -> None:
    answer = client.get(url(name))
    refused(answer, 401, "Log in, or send a token.")
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", READ)
def test_who_may_not_look_is_refused(client: Client, name: str) -> None:
    client.force_login(user("add_job"))
    refused(client.get(url(name)), 403, "async.view_job")


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("sent", [TOKEN[:-1], "", f"{TOKEN}x", TOKEN.upper(), "\u00e9" * 20])
def test_a_wrong_token_is_refused(client: Client, settings: Any, name: str, sent: str) -> None:
    settings.ASYNC = {"HTTP_TOKEN": TOKEN}
    answer = client.get(url(name), HTTP_AUTHORIZATION=f"Bearer {sent}")
    refused(answer, 401, "The token is wrong.")


def test_without_the_setting_no_token_will_do(client: Client) -> None:
    for sent in ("", "None", TOKEN):
        answer = client.get(url("health"), HTTP_AUTHORIZATION=f"Bearer {sent}")
        refused(answer, 401, "The token is wrong.")


def test_a_wrong_token_is_not_helped_by_a_login(reader: Client) -> None:
    answer = reader.get(url("health"), HTTP_AUTHORIZATION="Bearer wrong")
    refused(answer, 401, "The token is wrong.")


@pytest.mark.parametrize("name", READ)
def test_the_token_is_enough_to_look(client: Client, settings: Any, name: str) -> None:
    settings.ASYNC = {"HTTP_TOKEN": TOKEN}
    schedule(jobs.note, group="orders")
    assert client.get(url(name), HTTP_AUTHORIZATION=f"bearer {TOKEN}").status_code == 200


def test_the_token_is_compared_in_constant_time(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ASYNC = {"HTTP_TOKEN": TOKEN}
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr("django_async.endpoints.constant_time_compare", compare)
    assert client.get(url("health"), HTTP_AUTHORIZATION="Bearer x").status_code == 401
    assert compared == [("x", TOKEN)]


def test_the_token_schedules_nothing(client: Client, settings: Any) -> None:
    settings.ASYNC = {"HTTP_TOKEN": TOKEN, "SCHEDULABLE": ["suite.jobs."]}
    answer = post(client, {"function": "suite.jobs.note"}, Authorization=f"Bearer {TOKEN}")
    refused(answer, 401, "Log in")
    assert not Job.objects.exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
def test_other_methods_are_refused(admin_client: Client, name: str, method: str) -> None:
    if (method == "post") == (name == "schedule") and method in ("get", "post"):
        return
    answer = getattr(admin_client, method)(url(name))
    refused(answer, 405, f"{method.upper()} is none of")
    assert answer["Allow"] == ("POST" if name == "schedule" else "GET, HEAD")


@pytest.mark.parametrize("name", [*READ, "live"])
def test_reading_changes_nothing_and_is_not_kept_by_a_cache(reader: Client, name: str) -> None:
    schedule(jobs.note, group="orders")
    with CaptureQueriesContext(connection) as queries:
        answer = reader.get(url(name))
    assert "no-store" in answer["Cache-Control"]
    starts = {query["sql"].split()[0] for query in queries}
    assert starts <= {"SELECT", "EXPLAIN", "PRAGMA"}


def test_health_is_what_the_function_says(reader: Client) -> None:
    schedule(jobs.note)
    found, said = reader.get(url("health")).json(), health()
    for one in (found, said):
        one["queue"].pop("oldest-due-age")
    assert found == json.loads(json.dumps(said))


def test_the_bare_form_is_for_anybody_and_tells_nothing(client: Client) -> None:
    schedule(jobs.note)
    answer = client.get(url("live"))
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_bare_form_says_that_the_database_is_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Any:
        raise OperationalError("host db-1 refused the password of shop")

    monkeypatch.setattr(connections["default"], "cursor", away)
    answer = client.get(url("live"))
    refused(answer, 503, "The database does not answer.")
    assert "db-1" not in answer.content.decode()


def test_progress_has_the_keys_of_old(reader: Client, flush: Callable[..., Any]) -> None:
    for _ in range(3):
        schedule(jobs.note, group="orders")
    for attempts in (1, 5):
        schedule(jobs.fail, group="orders", meta={"max_attempts": attempts})
    flush(keep_going=True)
    group = Group.objects.get()
    told = reader.get(url("progress")).json()["progress"]
    latest = group.latest_executed_job()
    assert latest is not None
    assert latest.executed is not None
    assert told.pop("consumed_seconds") > 0
    assert told.pop("remaining_seconds") > 0
    assert told == {
        "id": group.pk,
        "reference": "orders",
        "created": group.created.isoformat(),
        "latest_job_completed": latest.executed.isoformat(),
        "total_jobs": 5,
        "total_executed_jobs": 3,
        "total_unexecuted_jobs": 2,
        "total_error_jobs": 2,
        "current_errors": 2,
    }


def test_an_error_of_a_job_that_was_executed_since_is_no_current_one(reader: Client) -> None:
    job = schedule(jobs.note, group="orders")
    job.errors.create(exception="early", traceback="")
    job.errors.create(exception="late", traceback="")
    Job.objects.update(started=timezone.now(), executed=timezone.now())
    told = reader.get(url("progress")).json()["progress"]
    assert (told["total_error_jobs"], told["current_errors"]) == (1, 0)
    assert told["remaining_seconds"] == 0


def test_progress_before_the_first_job_has_ended_has_no_estimate(reader: Client) -> None:
    schedule(jobs.note, group="orders")
    told = reader.get(url("progress")).json()["progress"]
    assert (told["latest_job_completed"], told["remaining_seconds"]) == (None, None)


def test_of_a_group_without_jobs_there_is_no_progress(reader: Client) -> None:
    Group.objects.create(reference="orders")
    assert reader.get(url("progress")).json() == {"progress": None}


def test_of_several_groups_the_latest_is_meant(reader: Client) -> None:
    first = schedule(jobs.note, group="orders")
    Job.objects.update(started=timezone.now(), executed=timezone.now())
    second = schedule(jobs.note, group="orders")
    assert first.group_id != second.group_id
    assert reader.get(url("progress")).json()["progress"]["id"] == second.group_id


def test_an_unknown_reference_is_not_found(reader: Client) -> None:
    refused(reader.get(url("progress")), 404, "No group")


@pytest.mark.parametrize(
    "reference", ["a/b", "<script>", "Zoë & co?", "x" * 255, "\u202eabc", "%2F"]
)
def test_any_reference_can_be_asked_for(reader: Client, reference: str) -> None:
    schedule(jobs.note, group=reference)
    address = reverse("django_async:progress", kwargs={"reference": reference})
    answer = reader.get(address)
    assert answer.json()["progress"]["reference"] == reference
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_job_is_scheduled_and_its_id_told(adder: Client) -> None:
    data = {
        "function": "suite.jobs.note",
        "args": ["<script>"],
        "kwargs": {},
        "run_after": 3600,
        "meta": {"max_attempts": 2},
        "priority": 7,
        "group": "orders",
        "queue": "mail",
    }
    answer = post(adder, data)
    job = Job.objects.get()
    assert (answer.status_code, answer.json()) == (201, {"job": {"id": job.pk}})
    assert (job.name, job.args, job.priority, job.queue) == (
        *("suite.jobs.note", '["<script>"]'),
        *(7, "mail"),
    )
    assert job.group is not None
    assert job.group.reference == "orders"
    assert job.scheduled is not None
    assert timedelta(minutes=59) < job.scheduled - timezone.now() < timedelta(minutes=61)


def test_a_moment_may_be_given_as_iso_8601(adder: Client) -> None:
    when = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
    assert post(adder, {"function": "suite.jobs.note", "run_after": when.isoformat()})
    assert Job.objects.get().scheduled == when


def test_who_may_only_look_schedules_nothing(reader: Client) -> None:
    refused(post(reader, {"function": "suite.jobs.note"}), 403, "async.add_job")
    assert not Job.objects.exists()


def test_nobody_schedules_nothing(client: Client) -> None:
    refused(post(client, {"function": "suite.jobs.note"}), 401, "Log in")
    assert not Job.objects.exists()


@pytest.mark.parametrize("middleware", [(), ("django.middleware.csrf.CsrfViewMiddleware",)])
def test_a_request_from_elsewhere_is_refused_whatever_the_middleware(
    settings: Any, middleware: tuple[str, ...]
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, *middleware]
    client = Client(enforce_csrf_checks=True)
    client.force_login(user("add_job"))
    refused(post(client, {"function": "suite.jobs.note"}), 403, "CSRF")
    client.cookies["csrftoken"] = "a" * 32
    refused(post(client, {"function": "suite.jobs.note"}, X_CSRFToken="b" * 32), 403, "CSRF")
    assert not Job.objects.exists()
    answer = post(client, {"function": "suite.jobs.note"}, X_CSRFToken="a" * 32)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b" ", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"),
        ([], "JSON object"),
        ("null", "JSON object"),
        ({}, "function"),
        ({"function": 3}, "function"),
        ({"function": ["suite.jobs.note"]}, "function"),
        ({"function": "suite.jobs.note", "using": "other"}, "using"),
        ({"function": "suite.jobs.note", "<script>": 1}, "Unknown"),
        ({"function": "suite.jobs.fail"}, "SCHEDULABLE"),
        ({"function": "os.abort"}, "SCHEDULABLE"),
        ({"function": "suite.jobs.nowhere"}, "SCHEDULABLE"),
        ({"function": "suite.jobs.note.nowhere"}, "nowhere"),
        ({"function": "suite.jobs.note", "args": "text"}, "args"),
        ({"function": "suite.jobs.note", "args": {"a": 1}}, "args"),
        ({"function": "suite.jobs.note", "kwargs": []}, "kwargs"),
        (b'{"function": "suite.jobs.note", "args": [NaN]}', "JSON cannot hold"),
        ({"function": "suite.jobs.note", "meta": {"backoff": "os.abort"}}, "SCHEDULABLE"),
        ({"function": "suite.jobs.note", "meta": {"django.tasks": {}}}, "django.tasks"),
        ({"function": "suite.jobs.note", "priority": "high"}, "priority"),
        ({"function": "suite.jobs.note", "priority": 2**40}, "priority"),
        ({"function": "suite.jobs.note", "queue": ""}, "queue"),
        ({"function": "suite.jobs.note", "queue": "x" * 101}, "queue"),
        ({"function": "suite.jobs.note", "queue": "a\0b"}, "queue"),
        ({"function": "suite.jobs.note", "group": {"id": 1}}, "group"),
        ({"function": "suite.jobs.note", "run_after": "soon"}, "run_after"),
        ({"function": "suite.jobs.note", "run_after": True}, "run_after"),
        ({"function": "suite.jobs.note", "run_after": -1}, "run_after"),
        ({"function": "suite.jobs.note", "run_after": 1e300}, "run_after"),
        ({"function": "suite.jobs.note", "run_after": "2026-13-45T00:00:00"}, "month"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_cannot_be_scheduled_is_refused_with_what_is_wrong(
    adder: Client, data: Any, said: str
) -> None:
    refused(post(adder, data), 400, said)
    assert not Job.objects.exists()


def test_a_group_that_takes_no_more_jobs_is_a_conflict(adder: Client) -> None:
    member = schedule(jobs.note, group="orders")
    schedule(jobs.note, group="orders")
    Job.objects.filter(pk=member.pk).update(cancelled=timezone.now())
    answer = post(adder, {"function": "suite.jobs.note", "group": "orders"})
    refused(answer, 409, "No job can join group")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/json"])
def test_anything_but_json_is_refused(adder: Client, kind: str) -> None:
    refused(adder.post(url("schedule"), "function=suite.jobs.note", kind), 415, "application/json")


def test_a_body_may_be_as_large_as_is_said_and_no_larger(adder: Client) -> None:
    frame = len(json.dumps({"function": "suite.jobs.note", "args": [""]}))
    text = "x" * (LARGEST_BODY - frame)
    assert post(adder, {"function": "suite.jobs.note", "args": [text]}).status_code == 201
    larger = post(adder, {"function": "suite.jobs.note", "args": [f"{text}x"]})
    refused(larger, 413, str(LARGEST_BODY))
    assert Job.objects.count() == 1


def test_a_project_may_allow_less(adder: Client, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    refused(post(adder, {"function": "suite.jobs.note", "args": ["x" * 1000]}), 413, "1000")


def test_what_is_said_to_be_wrong_is_not_endless(adder: Client) -> None:
    answer = post(adder, {"function": "x" * 500_000})
    assert answer.status_code == 400
    assert len(answer.content) < 2000


def test_metrics_are_what_the_database_knows(reader: Client, flush: Callable[..., Any]) -> None:
    for _ in range(3):
        schedule(jobs.note, queue='ma"il\\')
    schedule(jobs.fail, queue='ma"il\\')
    flush(keep_going=True)
    schedule(jobs.note, run_after=timezone.now() - timedelta(seconds=90))
    with shown.living(workers=3):
        answer = reader.get(url("metrics"))
    text = answer.content.decode()
    assert answer["Content-Type"].startswith("text/plain")
    assert 'django_async_due_jobs{database="default"} 1.0' in text
    assert 'django_async_parents{database="default"} 1.0' in text
    assert 'django_async_all_workers{database="default"} 3.0' in text
    assert 'outcome="executed",queue="ma\\"il\\\\"} 3.0' in text
    assert 'outcome="failed",queue="ma\\"il\\\\"} 1.0' in text
    [age] = [line for line in text.splitlines() if line.startswith("django_async_oldest_due")]
    assert 90 <= float(age.split()[-1]) < 120


def test_metrics_leave_the_connection_open(reader: Client) -> None:
    figures.attempted(3, scope=QUEUE, label="mail")
    session = connection.connection
    assert b'queue="mail"' in reader.get(url("metrics")).content
    assert connection.connection is session


def test_without_the_library_metrics_are_not_implemented(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.setattr("django_async.endpoints.find_spec", lambda name: None)
    refused(reader.get(url("metrics")), 501, "django-async[prometheus]")
