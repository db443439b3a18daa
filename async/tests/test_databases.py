"""The queue in another database than the default one: all that belongs to a job stays there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from django_async import schedule
from django_async.api import deschedule, remove_old_jobs, schedule_many
from django_async.models import Error, Group, Job
from suite import calls
from suite.jobs import die, fail, note, nothing
from suite.models import Note
from suite.processes import manage
from suite.together import DEADLINE

pytestmark = pytest.mark.django_db(databases=["default", "other"], transaction=True)

Flush = Callable[..., Any]

BOTH = ("default", "other")


def states(using: str) -> list[str]:
    """The states of the jobs in one of the databases, in the order of their ids."""
    return [job.state for job in Job.objects.using(using).order_by("pk")]


def names(using: str) -> list[str]:
    """The names of the pending jobs in one of the databases."""
    jobs = Job.objects.using(using).pending().order_by("pk")
    return [job.name.rpartition(".")[2] for job in jobs]


def test_jobs_and_their_groups_are_written_where_they_are_to_be() -> None:
    job = schedule(nothing, group="orders", using="other")
    jobs = schedule_many([{"function": note, "group": "orders"}] * 2, using="other")
    assert names("other") == ["nothing", "note", "note"]
    assert {one._state.db for one in (job, *jobs)} == {"other"}
    assert Group.objects.using("other").get().jobs.count() == 3
    assert not Job.objects.exists()
    assert not Group.objects.exists()


def test_a_reference_means_a_group_of_its_own_database() -> None:
    here, there = (Group.objects.using(using).create(reference="orders") for using in BOTH)
    assert schedule(nothing, group="orders", using="other").group == there
    there.on_completion(schedule(note, using="other"))
    assert (here.jobs.count(), there.jobs.count()) == (0, 2)
    assert Group.objects.using("other").get().final is not None
    assert Group.objects.get().final is None


def test_a_time_from_now_is_by_the_clock_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def utc_now(using: str) -> Any:
        asked.append(using)
        return timezone.now()

    monkeypatch.setattr("django_async.clock.utc_now", utc_now)
    schedule(nothing, run_after=timedelta(hours=1), using="other")
    schedule_many([{"function": nothing, "run_after": timedelta(hours=1)}], using="other")
    assert asked == ["other"] * 2


def test_calls_are_cancelled_in_one_database() -> None:
    for using in BOTH:
        schedule(nothing, using=using)
    assert deschedule(nothing, using="other") == 1
    assert (states("default"), states("other")) == (["due"], ["cancelled"])


def test_a_job_that_cancels_spares_itself() -> None:
    job = schedule(calls.cancels_its_own_call, ["other"], using="other")
    twin = schedule(calls.cancels_its_own_call, ["other"], using="other")
    assert job.execute() == 1
    twin.refresh_from_db()
    assert (job.state, twin.state) == ("executed", "cancelled")


def test_a_job_that_cancels_in_another_database_does_not_spare_its_number_there() -> None:
    job = schedule(calls.cancels_in, ["default", "suite.jobs.nothing"], using="other")
    Job.objects.filter(pk=schedule(nothing).pk).update(id=job.pk)
    assert job.execute() == 1
    assert states("default") == ["cancelled"]


def test_a_job_runs_in_a_transaction_of_its_database_alone() -> None:
    job = schedule(calls.open_transactions, using="other")
    assert job.execute() == ["other"]
    assert states("other") == ["executed"]


def test_a_job_in_another_database_does_not_wait_for_the_callers_commit_here() -> None:
    with transaction.atomic():
        schedule(nothing)
        schedule(note, using="other")
        transaction.set_rollback(True)
    assert (names("default"), names("other")) == ([], ["note"])


def test_what_a_job_writes_to_another_database_stays_and_is_done_again() -> None:
    job = schedule(calls.note_elsewhere_and_fail, ["other", "both"])
    for _ in range(2):
        with pytest.raises(ValueError, match="after both"):
            job.execute()
    assert not Note.objects.exists()
    assert Note.objects.using("other").filter(text="both").count() == 2


def test_a_block_in_another_database_is_committed_before_the_job() -> None:
    job = schedule(calls.note_elsewhere_in_a_block, ["other", "in a block"])
    assert job.execute() == 1


def test_a_failure_is_recorded_where_the_job_is() -> None:
    job = schedule(fail, using="other")
    with pytest.raises(ValueError, match="failed"):
        job.execute()
    assert states("other") == ["failed"]
    assert Error.objects.using("other").get().job == job
    assert not Error.objects.exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_takes_the_jobs_of_one_database(flush: Flush, workers: int) -> None:
    for using in BOTH:
        schedule_many([{"function": calls.open_transactions}] * 3, using=using)
        schedule(fail, using=using)
    flushed = flush(workers=workers, database="other", keep_going=True)
    assert flushed.output.startswith("3 executed, 1 failed")
    assert states("default") == ["due"] * 4
    assert states("other") == ["executed"] * 3 + ["failed"]
    assert Error.objects.using("other").count() == 1
    done = Job.objects.using("other").executed()
    assert set(done.values_list("result", flat=True)) == {'["other"]'}


def test_a_death_is_recorded_where_the_job_is(flush: Flush) -> None:
    job = schedule(die, meta={"max_attempts": 1}, using="other")
    flush(workers=1, database="other", keep_going=True)
    assert states("other") == ["discarded"]
    assert "SIGKILL" in Error.objects.using("other").get(job=job.pk).exception
    assert not Error.objects.exists()


def test_the_command_is_told_the_database() -> None:
    for using in BOTH:
        schedule(nothing, using=using)
    with manage("flush_queue", "--database=other", "--workers=1") as process:
        output, errors = process.communicate(timeout=DEADLINE)
    assert output.startswith("1 executed"), errors
    assert (states("default"), states("other")) == (["due"], ["executed"])


def test_a_final_job_waits_for_its_group_and_runs_in_its_database(flush: Flush) -> None:
    group = Group.objects.using("other").create(reference="orders")
    group.on_completion(schedule(nothing, priority=9, using="other"))
    schedule(note, group=group, priority=1, using="other")
    flush(database="other")
    member, final = Job.objects.using("other").order_by("priority")
    assert member.executed is not None
    assert final.started is not None
    assert member.executed <= final.started


def test_old_jobs_are_removed_where_the_removal_runs() -> None:
    long_ago = timezone.now() - timedelta(days=40)
    for using in BOTH:
        schedule(nothing, using=using)
        Job.objects.using(using).update(started=long_ago, executed=long_ago)
    schedule(remove_old_jobs, using="other").execute()
    assert states("default") == ["executed"]
    assert names("other") == ["remove_old_jobs"]
    assert Job.objects.using("other").executed().count() == 1
