"""Jobs as rows: how they are written, what state they are in, and running one by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from django_async import schedule
from django_async.api import deschedule
from django_async.errors import JobNotRunnable
from django_async.helpers import clear_queue
from django_async.models import Error, Group, Job
from suite import calls
from suite.jobs import fail, note, nothing
from suite.models import Note
from suite.together import elsewhere, locked

pytestmark = pytest.mark.django_db

LATER = timedelta(days=1)
QUERIES = ("pending", "finished", "due", "waiting", "executed", "cancelled", "discarded", "failed")


@pytest.fixture
def each_state(flush: Callable[..., Any]) -> dict[str, Job]:
    """A job in every state."""
    schedule(fail, ["again"])
    schedule(fail, ["given up"], meta={"max_attempts": 1})
    schedule(note, ["done"])
    flush(keep_going=True)
    schedule(nothing, ["cancelled"])
    deschedule(nothing, ["cancelled"])
    schedule(note, ["due"])
    schedule(note, ["later"], run_after=LATER)
    return {job.state: job for job in Job.objects.all()}


@pytest.mark.parametrize(
    ("args", "kwargs", "identity", "text"),
    [
        ("[]", "{}", "289dbff9c1bd746fc444a20d396986857a6e8f04", "()"),
        (
            *("[]", '{"x": null, "k": "v"}'),
            *("236a244a0cd845bb5a427db495ec830fa4ab9d93", "(k='v', x=None)"),
        ),
        (
            *('["argument"]', '{"k": "v", "x": null}'),
            *("9abc86055107d5b5aa97ea32e098580543680c27", "('argument', k='v', x=None)"),
        ),
    ],
)
def test_identities_are_those_of_0_7_3(args: str, kwargs: str, identity: str, text: str) -> None:
    job = Job.objects.create(name="async.tests.test_models._fn", args=args, kwargs=kwargs)
    assert job.identity == identity
    assert str(job) == f"async.tests.test_models._fn{text}"


def test_the_identity_follows_the_call() -> None:
    job = schedule(nothing, [1])
    job.args = "[2]"
    job.save()
    assert deschedule(nothing, [2]) == 1


def test_each_state_has_its_word(each_state: dict[str, Job]) -> None:
    assert set(each_state) == {
        *("executed", "cancelled", "discarded", "failed", "scheduled", "due")
    }


def test_each_state_has_its_query(each_state: dict[str, Job]) -> None:
    found = {query: {job.state for job in getattr(Job.objects.all(), query)()} for query in QUERIES}
    assert found == {
        "pending": {"due", "scheduled", "failed"},
        "finished": {"executed", "cancelled", "discarded"},
        "due": {"due"},
        "waiting": {"scheduled", "failed"},
        "executed": {"executed"},
        "cancelled": {"cancelled"},
        "discarded": {"discarded"},
        "failed": {"failed"},
    }


def test_queries_of_the_manager_are_those_of_its_querysets(each_state: dict[str, Job]) -> None:
    for query in QUERIES:
        assert set(getattr(Job.objects, query)()) == set(getattr(Job.objects.all(), query)())


def test_jobs_have_an_order() -> None:
    late, early = (schedule(nothing, run_after=timedelta(hours=by)) for by in (2, 1))
    first = schedule(nothing, priority=9)
    untimed = [schedule(nothing) for _ in range(2)]
    last = schedule(nothing, priority=-1, run_after=timedelta(hours=-1))
    assert list(Job.objects.all().in_order()) == [first, early, late, *untimed, last]


def test_a_job_keeps_its_errors(each_state: dict[str, Job]) -> None:
    error = each_state["failed"].errors.get()
    assert error.exception == "ValueError('again')"
    assert error.traceback.splitlines()[-1] == "ValueError: again"
    assert str(error) == f"{error.executed} : ValueError('again')"


def test_execute_runs_a_job_and_returns_its_result() -> None:
    job = schedule(note, ["text"])
    assert job.execute() == "text"
    assert (job.state, job.result, job.attempts) == ("executed", '"text"', 1)
    assert job.started is not None
    assert job.executed is not None
    assert job.started <= job.executed
    assert Note.objects.get().text == "text"


def test_execute_runs_a_job_before_its_time() -> None:
    job = schedule(note, ["early"], run_after=LATER)
    assert job.execute() == "early"
    assert job.state == "executed"


def test_execute_raises_what_the_job_raised_and_records_it() -> None:
    job = schedule(fail, ["wrong"])
    with pytest.raises(ValueError, match="wrong"):
        job.execute()
    assert (job.state, job.attempts, job.priority) == ("failed", 1, 4)
    assert job.scheduled is not None
    assert timedelta(0) < job.scheduled - timezone.now() <= timedelta(seconds=60)
    assert Error.objects.get().job == job
    assert not Note.objects.exists()


@pytest.mark.parametrize("state", ["executed", "cancelled", "discarded"])
def test_execute_refuses_a_job_that_has_ended(each_state: dict[str, Job], state: str) -> None:
    before = Job.objects.filter(pk=each_state[state].pk).values().get()
    with pytest.raises(JobNotRunnable, match=state):
        each_state[state].execute()
    assert Job.objects.filter(pk=each_state[state].pk).values().get() == before


def test_execute_takes_a_job_that_failed_before(each_state: dict[str, Job]) -> None:
    with pytest.raises(ValueError, match="again"):
        each_state["failed"].execute()
    assert each_state["failed"].attempts == 2


@pytest.mark.django_db(transaction=True)
def test_execute_refuses_to_run_inside_a_transaction() -> None:
    job = schedule(note)
    with transaction.atomic(), pytest.raises(JobNotRunnable, match="outermost"):
        job.execute()
    assert Job.objects.get().state == "due"
    assert not Note.objects.exists()


def test_execute_refuses_to_run_inside_a_transaction_of_a_test_too() -> None:
    job = schedule(note)
    with transaction.atomic(), pytest.raises(JobNotRunnable, match="outermost"):
        job.execute()
    assert job.execute() == "noted"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
def test_execute_refuses_a_job_that_runs_elsewhere() -> None:
    job = schedule(note)
    with locked(job), pytest.raises(JobNotRunnable, match="elsewhere"):
        job.execute()
    assert job.execute() == "noted"


@pytest.mark.django_db(transaction=True)
def test_execute_refuses_a_job_that_somebody_else_has_run() -> None:
    job = schedule(note)
    elsewhere(Job.objects.get(pk=job.pk).execute)
    with pytest.raises(JobNotRunnable, match="executed"):
        job.execute()
    assert Note.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_execute_did_is_committed() -> None:
    schedule(calls.schedules, ["x"]).execute()
    assert elsewhere(Job.objects.count) == 4


@override_settings(USE_TZ=False)
def test_states_are_told_without_time_zones_too() -> None:
    assert schedule(note, run_after=LATER).state == "scheduled"
    assert schedule(note, run_after=-LATER).state == "due"


def test_clear_queue_empties_the_queue_before_a_test() -> None:
    group = Group.objects.create(reference="orders")
    schedule(nothing, group=group)
    schedule(nothing).execute()

    @clear_queue
    def count(more: int, *, times: int = 1) -> int:
        """Documented."""
        return (Job.objects.count() + more) * times

    assert count(2, times=3) == 6
    assert (count.__name__, count.__doc__) == ("count", "Documented.")
