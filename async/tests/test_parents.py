"""Deaths that nobody is left to see are counted all the same, and only against who caused them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from django_async import clock, liveness, parents, runner, schedule
from django_async.api import schedule_many
from django_async.hints import SUSPECTED, Hint
from django_async.models import Error, Job, Parent
from django_async.outcomes import Executed, Failed, Lost
from django_async.parents import Registration
from django_async.stamps import Batch
from suite import abuse, jobs
from suite.models import Note
from suite.processes import manage
from suite.testing import run_pass
from suite.together import DEAD, DEADLINE, alive, left_behind, locked

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]


def hint(job: Job) -> Hint:
    job.refresh_from_db()
    return Hint(
        job.pk, job.attempts, job.priority, job.scheduled, job.group_id, job.meta, job.stamp
    )


def stamps() -> dict[int, str | None]:
    return dict(Job.objects.order_by("pk").values_list("pk", "stamp"))


def flush_beside(*options: str) -> int:
    """``flush_queue`` in a process of its own, to its end; its exit code."""
    with manage("flush_queue", *options) as process:
        process.communicate(timeout=DEADLINE)
        return process.returncode


def test_who_runs_alone_and_kills_everybody_is_discarded_and_stops_nobody() -> None:
    """Parent and workers are killed at once, again and again, by one job among 200."""
    poison = schedule(abuse.kill_everybody, priority=6)
    innocent = schedule_many([{"function": jobs.note, "args": [str(n)]} for n in range(200)])
    codes = []
    for _ in range(10):
        codes.append(flush_beside("--workers", "2", "--keep-going"))
        if codes[-1] >= 0:
            Job.objects.pending().update(scheduled=None)

    poison.refresh_from_db()
    assert (poison.state, poison.crashes, poison.errors.count()) == ("discarded", 3, 3)
    last = poison.errors.latest("id")
    assert "MAX_CRASHES" in last.exception
    assert "WorkerDied" in last.exception
    assert Counter(Note.objects.values_list("text", flat=True)) == {str(n): 1 for n in range(200)}
    for job in innocent:
        job.refresh_from_db()
        assert (job.state, job.crashes, job.errors.count()) == ("executed", 0, 0)
    assert codes[0] == codes[1] == -signal.SIGKILL
    assert codes[-1] == 0
    assert not Parent.objects.exists()


def test_a_batch_left_behind_raises_a_suspicion_and_no_more() -> None:
    batch = [schedule(jobs.note, [str(number)]) for number in range(4)]
    left_behind(*batch, workers=2)
    Registration("default").look_around()
    assert list(stamps().values()) == [SUSPECTED, SUSPECTED, None, None]
    assert {job.attempts for job in Job.objects.all()} == {0}
    assert not Error.objects.exists()
    assert not Parent.objects.exists()


def test_what_has_ended_since_is_not_suspected() -> None:
    executed, failed, open_end = (schedule(jobs.note, [text]) for text in "abc")
    left_behind(executed, failed, open_end)
    executed.execute()
    Job.objects.filter(pk=failed.pk).update(attempts=1)
    Registration("default").look_around()
    assert stamps() == {executed.pk: None, failed.pk: None, open_end.pk: SUSPECTED}


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
def test_what_runs_elsewhere_is_not_suspected() -> None:
    running, open_end = schedule(jobs.note), schedule(jobs.note)
    left_behind(running, open_end)
    with locked(running):
        Registration("default").look_around()
        assert stamps() == {running.pk: None, open_end.pk: SUSPECTED}


def test_of_what_was_foreseen_all_that_is_there_is_suspected() -> None:
    """It is not known in which order it was handed out."""
    jobs_made = [schedule(jobs.note, [str(number)]) for number in range(6)]
    first, _, attempted, executed, *_, beyond = jobs_made
    Job.objects.filter(pk=attempted.pk).update(attempts=1)
    executed.execute()
    left_behind(first, workers=1, foreseen=range(first.pk + 1, beyond.pk))
    Registration("default").look_around()
    suspected = [SUSPECTED, SUSPECTED, None, None, SUSPECTED, None]
    assert list(stamps().values()) == suspected
    assert not Parent.objects.exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
def test_while_something_foreseen_is_locked_the_dead_parent_is_remembered() -> None:
    """A session that nobody has ended yet may hold it."""
    job = schedule(jobs.note)
    left_behind(foreseen=range(job.pk, job.pk + 9))
    with locked(job):
        Registration("default").look_around()
        assert Parent.objects.exists()
    Registration("default").look_around()
    assert stamps() == {job.pk: SUSPECTED}
    assert not Parent.objects.exists()


def told(job_id: int, attempts: int = 0) -> Hint:
    return Hint(job_id, attempts, 0, None, None)


def test_the_ids_that_come_next_are_covered_for_a_first_attempt() -> None:
    me = Registration("default")
    short_sighted = [me.is_short_sighted]  # it has not seen any id
    me.note(7)
    short_sighted.append(me.is_short_sighted)
    me.foresee([told(5)])
    short_sighted.append(me.is_short_sighted)
    covered = [number for number in range(100) if me.covers(told(number))]
    assert covered == [5, *range(8, 8 + parents.FORESIGHT)]
    assert not me.covers(told(8, attempts=1))
    batch = Batch.load(Parent.objects.get().batch)
    assert batch == Batch([(5, 0)], range(8, 8 + parents.FORESIGHT))
    me.note(7 + parents.FORESIGHT // 2)
    short_sighted.append(me.is_short_sighted)
    assert short_sighted == [False, True, False, True]
    me.withdraw()
    assert not me.covers(told(8))


def test_what_is_written_next_is_covered_alone() -> None:
    me = Registration("default")
    me.note(7)
    me.foresee([])
    me.stamp([told(3)])
    assert [number for number in range(100) if me.covers(told(number))] == [3]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no sessions")
def test_who_may_have_been_struck_out_has_foreseen_nothing() -> None:
    me = Registration("default")
    me.note(7)
    me.foresee([])
    connection.close()
    me.show_life()
    assert not me.covers(told(8))


def test_a_parent_that_lives_raises_no_suspicion() -> None:
    job, other = schedule(jobs.note), Registration("default")
    with alive(lambda: other.stamp([hint(job)])):
        Registration("default").look_around()
        assert stamps() == {job.pk: None}
        assert Parent.objects.count() == 1
        assert not parents.is_gone(other.token, "default")


def test_suspects_run_and_are_cleared_by_their_end(flush: Flush) -> None:
    batch = [schedule(jobs.note, [str(number)]) for number in range(3)]
    failing = schedule(jobs.fail)
    left_behind(*batch, failing, workers=4)
    flushed = flush(workers=2, keep_going=True)
    assert flushed.output.startswith("3 executed, 1 failed, 0 skipped")
    assert set(stamps().values()) == {None}
    assert Job.objects.get(pk=failing.pk).crashes == 0


def test_suspects_run_one_at_a_time_and_keep_their_place(flush: Flush) -> None:
    suspects = [schedule(abuse.count_suspects, priority=8) for _ in range(4)]
    others = [schedule(abuse.count_suspects) for _ in range(4)]
    Job.objects.filter(pk__in=[job.pk for job in suspects]).update(stamp=SUSPECTED)
    done = run_pass(workers=3)
    assert done.ids == [job.pk for job in [*suspects, *others]]
    assert done.summary.executed == 8
    results = Job.objects.filter(pk__in=[job.pk for job in suspects])
    assert set(results.values_list("result", flat=True)) == {"1"}


def test_the_stamp_is_committed_before_the_suspect_runs() -> None:
    job = schedule(abuse.read_stamp_elsewhere)
    Job.objects.update(stamp=SUSPECTED)
    me = Registration("default")
    outcome = runner.run_job(hint(job), "default", me.token)
    assert isinstance(outcome, Executed)
    job.refresh_from_db()
    assert json.loads(job.result) == me.token
    assert job.stamp is None


def test_a_stamp_of_the_dead_counts_as_a_death_without_a_further_attempt() -> None:
    job = schedule(jobs.note, priority=7)
    Job.objects.update(stamp=DEAD)
    outcome = runner.run_job(hint(job), "default", Registration("default").token)
    assert isinstance(outcome, Failed)
    job.refresh_from_db()
    assert (job.attempts, job.crashes, job.priority) == (1, 1, 7)
    assert job.stamp == SUSPECTED
    assert "WorkerDied" in job.errors.get().exception
    assert job in Job.objects.due()
    assert not Note.objects.exists()


def test_from_the_second_common_death_on_the_back_off_applies() -> None:
    job = schedule(jobs.note)
    Job.objects.update(stamp=DEAD, attempts=1, crashes=1)
    before = clock.now("default")
    runner.run_job(hint(job), "default", Registration("default").token)
    job.refresh_from_db()
    assert job.scheduled
    assert job.scheduled >= before + timedelta(seconds=60 * 2**1.6)


def test_a_stamp_of_a_parent_that_lives_is_no_death() -> None:
    job, other = schedule(jobs.note), Registration("default")
    with alive(lambda: other.stamp([])):
        Job.objects.update(stamp=other.token)
        outcome = runner.run_job(hint(job), "default", Registration("default").token)
    assert outcome == Lost(hint(job), taken=False)
    assert (job.attempts, job.stamp) == (0, other.token)


def test_a_suspect_that_cannot_be_had_stays_one() -> None:
    job = schedule(jobs.note, run_after=timedelta(hours=1))
    Job.objects.update(stamp=SUSPECTED)
    outcome = runner.run_job(hint(job), "default", Registration("default").token)
    assert isinstance(outcome, Lost)
    assert stamps() == {job.pk: SUSPECTED}


def test_a_pass_writes_down_what_is_about_to_run_and_strikes_itself_out(flush: Flush) -> None:
    job, later = schedule(abuse.read_batches, priority=9), schedule(jobs.note)
    assert flush(workers=1).status == 0
    job.refresh_from_db()
    assert json.loads(job.result) == [[[job.pk, 0], [later.pk, 0]]]
    assert not Parent.objects.exists()


def test_max_crashes_counts_the_deaths_that_a_parent_saw(flush: Flush, settings: Any) -> None:
    settings.ASYNC = {"MAX_CRASHES": 2}
    job = schedule(abuse.end_process, ["SIGKILL"])
    assert flush(workers=1, keep_going=True).status == 1
    job.refresh_from_db()
    assert (job.state, job.crashes, job.errors.count()) == ("discarded", 2, 2)
    assert "discarded after 2 deaths" in job.errors.latest("id").exception


def test_without_max_crashes_a_job_is_tried_for_ever(flush: Flush, settings: Any) -> None:
    settings.ASYNC = {"MAX_CRASHES": None}
    job = schedule(abuse.end_process, ["SIGKILL"], meta={"backoff": 0})
    Job.objects.update(attempts=7, crashes=7)
    flush(workers=1)
    job.refresh_from_db()
    assert (job.state, job.crashes) == ("failed", 8)


def test_a_process_is_told_from_a_later_one_with_its_id() -> None:
    me = liveness.describe_process(os.getpid())
    assert me == liveness.describe_process(os.getpid())
    with subprocess.Popen(["sleep", "60"]) as process:
        other = liveness.describe_process(process.pid)
        process.kill()
    assert liveness.describe_process(process.pid) == f"{process.pid} ended" != other
    assert other.partition(" ")[2] != me.partition(" ")[2]
