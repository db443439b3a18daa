"""What a service sees while a look from the top takes long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from django_async import clock, schedule
from django_async.api import pause_queue, resume_queue, schedule_many
from django_async.fetch import Bounds, Fetch, Selection, bounds
from django_async.glance import SHARE_OF_GLANCES, SHARE_OF_TIME
from django_async.hints import Hint, Share
from django_async.models import Job
from django_async.patrol import Interval, Patrol
from suite import jobs
from suite.service import Service, Time, slow_looks
from suite.spying import blocks_read, each_statement
from suite.testing import examples

TAKES = 0.125
"""Seconds of each read from the top: what PostgreSQL needs to read past 10^6 jobs that were
executed since a transaction began that is still open."""

LOOK = 2 * TAKES
"""Seconds of a look: at what is to be expected, and at the jobs."""

POLL = 0.05
OFTEN = Interval(POLL, POLL)

HOURS = st.sampled_from([None, None, -3, -2, -1, 1])
"""From now to the time of a job."""
PRIORITIES = st.sampled_from([5, 5, 4, 0, -(2**31), 2**31 - 1])
PLANNED = st.lists(st.tuples(PRIORITIES, HOURS), max_size=8)


Planned = list[tuple[int, int | None]]


class WhatItSees(TestCase):
    @examples(40)
    @given(PLANNED, PLANNED, st.sampled_from([-4, -2, -1]))
    def test_it_sees_what_was_not_there_or_not_due_and_nothing_else(
        self, old: Planned, new: Planned, hours: int
    ) -> None:
        mark = schedule(jobs.nothing, run_after=timedelta(hours=hours), priority=7)
        time_of_mark = seen_as(mark)
        there = planned(old)
        last_id = bounds("default").last_id
        come = planned(new)

        reads = Fetch("default", None, Selection())
        found = reads.since(Bounds(time_of_mark.scheduled, last_id), {p for p, _ in old}, 99)

        became_due = {job.pk for job, ahead in there if ahead and hours <= ahead < 0}
        is_new = {job.pk for job, ahead in come if ahead is None or ahead < 0}
        assert sorted(hint.id for hint in found) == sorted(became_due | is_new)

    @examples(10)
    @given(PLANNED, st.integers(1, 3))
    def test_of_too_many_new_ones_it_sees_the_first_in_order(
        self, new: Planned, limit: int
    ) -> None:
        seen = bounds("default")
        planned(new)
        reads = Fetch("default", None, Selection())
        assert reads.since(seen, [], limit) == reads.page(None, 99)[:limit]


def planned(jobs_: Planned) -> list[tuple[Job, int | None]]:
    """Schedule jobs, each a minute after an hour; and that."""
    minute = timedelta(minutes=1)
    return [
        (
            schedule(
                jobs.nothing,
                priority=priority,
                run_after=None if hours is None else timedelta(hours=hours) + minute,
            ),
            hours,
        )
        for priority, hours in jobs_
    ]


def seen_as(job: Job) -> Hint:
    [hint] = Fetch("default", None, Selection()).again([job.pk])
    return hint


@pytest.mark.django_db
def test_a_job_that_comes_meanwhile_does_not_wait_for_the_next_look_from_the_top() -> None:
    service = Service(interval=OFTEN)
    came: dict[int, float] = {}

    def come() -> None:
        if len(came) < 40 and service.time.now > 0.3 * len(came):
            came[schedule(jobs.nothing).pk] = service.time.now

    service.each_turn = come
    with slow_looks(service.time, TAKES):
        served = service.run(until=lambda: len(service.served.ended) == 40)
    # The first look finds out that looks take long; after the third it knows what is new.
    late = [at - came[hint.id] for at, hint in served.handed_out if came[hint.id] > 4 * LOOK]
    assert len(late) > 30
    assert max(late) < POLL + LOOK + 2 * service.cost


@pytest.mark.django_db
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("told", [False, True], ids=["polling", "told"])
def test_looks_from_the_top_take_a_twentieth_of_the_time(*, busy: bool, told: bool) -> None:
    """However often something is heard, and jobs end."""
    service, seconds = Service(interval=OFTEN), 60.0
    [lane] = service.lanes

    def come() -> None:
        if busy and service.time.now < seconds and not lane.held:
            job = schedule(jobs.nothing)
            lane.walk.hear([Hint(job.pk, 0, job.priority, None, None)] if told else [None])

    service.each_turn = come
    with slow_looks(service.time, TAKES) as moments:
        service.run(until=lambda: service.time.now > seconds)
    assert len(moments) > 3
    assert len(moments) * TAKES <= seconds / SHARE_OF_TIME + 4 * LOOK
    if busy:
        assert len(service.served.ended) > seconds  # and they did not wait for them


@pytest.mark.django_db
def test_glances_take_a_fifth_of_it_when_everything_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, seconds, glances = Service(interval=OFTEN), 120.0, 0
    since = Fetch.since

    def slowed(*args: Any) -> list[Hint]:
        nonlocal glances
        glances += 1
        service.time.now += TAKES
        return since(*args)

    monkeypatch.setattr(Fetch, "since", slowed)
    service.each_turn = lambda: schedule(jobs.nothing) if not service.lanes[0].held else None
    with slow_looks(service.time, TAKES) as moments:
        service.run(until=lambda: service.time.now > seconds)
    assert glances > 10
    assert len(moments) * TAKES <= seconds / SHARE_OF_TIME + 4 * LOOK
    # One right after each look, and then in each fifth of the time between two.
    assert glances * TAKES <= seconds / SHARE_OF_GLANCES + len(moments) * TAKES


@pytest.mark.django_db
def test_a_job_that_was_committed_late_is_found_by_a_look_from_the_top() -> None:
    """Its id is as old as its transaction."""
    job = schedule(jobs.nothing)
    end(job)
    service, committed = Service(interval=OFTEN), 30.0

    def commit() -> None:
        if service.time.now > committed:
            Job.objects.filter(pk=job.pk).update(started=None, executed=None)
            service.each_turn = lambda: None

    service.each_turn = commit
    with slow_looks(service.time, TAKES):
        served = service.run(until=lambda: service.served.ended)
    [(at, _)] = served.handed_out
    assert at - committed <= SHARE_OF_TIME * LOOK + 2 * LOOK


@pytest.mark.django_db
def test_what_is_resumed_is_found_at_once() -> None:
    schedule(jobs.nothing, queue="mail")
    pause_queue("mail")
    service = Service(interval=OFTEN)
    resumed: list[float] = []

    def resume() -> None:
        now = service.time.now
        if now > 30 and now < moments[-1] + LOOK and not resumed:  # the next look is far
            resume_queue("mail")
            resumed.append(now)

    service.each_turn = resume
    with slow_looks(service.time, TAKES) as moments:
        [(at, _)] = service.run(until=lambda: service.served.ended).handed_out
    assert at - resumed[0] <= 1.0 + 2 * LOOK  # the beat of an idle service, and the look


@contextmanager
def glancing(share: Share | None = None) -> Iterator[tuple[Patrol, Time, list[float]]]:
    """A walk, idle for some time, whose looks from the top take long; when they began."""
    time = Time()
    walk = Patrol(Fetch("default", None, Selection()), 64, time, OFTEN)
    walk.share = share or walk.share
    with slow_looks(time, TAKES) as moments:
        idle(walk, time, 12.0)
        yield walk, time, moments


def idle(walk: Patrol, time: Time, seconds: float) -> int:
    """Let it look for so long, and find nothing; the statements that only glances need."""
    end, sent = time.now + seconds, []
    with each_statement(lambda sql, params: sent.append(sql)):
        while time.now < end:
            assert walk.take() is None
            time.now += max(walk.pause, 0.001)
    return sum("id > %s" in sql or "MAX(id)" in sql for sql in sent)


def after_a_look(walk: Patrol, time: Time, moments: list[float]) -> None:
    """Go on until it has just looked from the top: it will be long until it does again."""
    looks = len(moments)
    while len(moments) == looks:
        idle(walk, time, POLL)


def takes(walk: Patrol, time: Time, seconds: float) -> list[int]:
    """What it hands out within so long."""
    end, taken = time.now + seconds, []
    while time.now < end:
        if hint := walk.take():
            taken.append(hint.id)
            time.now += 0.005
        else:
            time.now += max(walk.pause, 0.001)
    return taken


@pytest.mark.django_db
def test_it_sees_what_was_scheduled_before_the_latest_look_and_committed_since() -> None:
    with glancing() as (walk, time, moments):
        job = schedule(jobs.nothing)
        end(job)
        after_a_look(walk, time, moments)
        Job.objects.filter(pk=job.pk).update(started=None, executed=None)
        assert takes(walk, time, 2 * POLL) == [job.pk]


@pytest.mark.django_db
def test_it_sees_what_has_failed_elsewhere_when_its_time_comes_again() -> None:
    job = schedule(jobs.nothing, run_after=timedelta(hours=1))
    with glancing() as (walk, time, moments):
        after_a_look(walk, time, moments)
        now = clock.now("default")
        Job.objects.filter(pk=job.pk).update(attempts=1, priority=job.priority - 1, scheduled=now)
        assert takes(walk, time, 2 * POLL) == [job.pk]


@pytest.mark.django_db
def test_it_leaves_new_jobs_first_to_the_parents_that_are_to_take_them() -> None:
    with glancing(Share(0, 2)) as (walk, time, moments):
        after_a_look(walk, time, moments)
        made = [schedule(jobs.nothing).pk for _ in range(6)]
        taken = takes(walk, time, 4 * POLL)
        assert taken[:3] == [job_id for job_id in made if job_id % 2 == 0]
        assert sorted(taken) == made  # what is still there at the next glance, nobody else takes


@pytest.mark.django_db
def test_the_glance_right_after_a_look_takes_nothing_that_the_look_has_left_to_others() -> None:
    with glancing(Share(0, 2)) as (walk, _, _):
        made = [schedule(jobs.nothing).pk for _ in range(2)]
        [theirs] = [job_id for job_id in made if job_id % 2]
        Job.objects.filter(pk=theirs).update(priority=9)
        walk.look_now()
        taken = [hint.id for hint in (walk.take(), walk.take()) if hint]
        assert taken == [job_id for job_id in made if job_id != theirs]


@pytest.mark.django_db
def test_what_is_left_to_others_is_not_read_again_at_once() -> None:
    """What lies before it would have to be read past each time."""
    with glancing(Share(0, 2)) as (walk, time, moments):
        made = [job.pk for job in schedule_many({"function": jobs.nothing} for _ in range(200))]
        walk.look_now()
        looks = len(moments)
        taken = takes(walk, time, 3.0)
        assert {job_id for job_id in made if job_id % 2 == 0} <= set(taken)
        assert len(moments) - looks <= 1 + 4  # what is to be expected, and four pages
        assert sorted(taken + takes(walk, time, 60.0)) == made


@pytest.mark.django_db
def test_once_looks_are_quick_again_all_are_from_the_top() -> None:
    with glancing() as (walk, time, _):
        assert idle(walk, time, 10.0) > 100
    idle(walk, time, 10.0)
    assert idle(walk, time, 10.0) == 0


def end(*ended: Job) -> None:
    """They are executed."""
    now = clock.now("default")
    Job.objects.filter(pk__in=[job.pk for job in ended]).update(started=now, executed=now)


@contextmanager
def old_transaction() -> Iterator[None]:
    """Within the block, a transaction is open that sees the jobs as they are now."""
    other = connection.copy()
    with closing(other), other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT 1 FROM async_job LIMIT 1")
        yield


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="others do not say what they read")
def test_it_reads_nothing_of_what_was_executed_beside_an_old_transaction() -> None:
    dead = schedule_many({"function": jobs.nothing} for _ in range(3000))
    with old_transaction():
        end(*dead)
        seen = bounds("default")
        job = schedule(jobs.nothing)
        reads = Fetch("default", None, Selection())
        assert [hint.id for hint in reads.since(seen, [job.priority], 64)] == [job.pk]
        from_the_top = blocks_read(lambda: reads.page(None, 64))
        assert blocks_read(lambda: reads.since(seen, [job.priority], 64)) < from_the_top / 5
