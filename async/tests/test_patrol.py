"""What a service does in which order, and how often it looks, in a time of the test's own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_async import fetch, patrol, schedule, wake
from django_async.api import pause_queue, resume_queue, schedule_many
from django_async.hints import Hint, Share
from django_async.models import Job
from django_async.outcomes import Executed, Outcome
from django_async.outlook import Outlook, outlook
from django_async.patrol import Interval, Patrol
from django_async.terms import Options
from suite import jobs
from suite.service import Service, Time, slow_looks
from suite.together import locked

pytestmark = pytest.mark.django_db
on_commits = pytest.mark.django_db(transaction=True)

PROMISED = 0.05
"""Seconds within which a job of higher priority overtakes those that have not started."""


def mark_executed(hint: Hint, using: str, token: str) -> Outcome:
    """An attempt that costs one statement, for tests of thousands."""
    now = Job.objects.using(using).get(pk=hint.id).added
    Job.objects.using(using).filter(pk=hint.id).update(executed=now, started=now)
    return Executed(hint, "", 0.0)


def violations(arrivals: int, backlog: int, seed: int, service: Service | None = None) -> int:
    """How often a job started before one of higher priority that had been there for longer than
    promised, while so many jobs arrived during the drain of a backlog."""
    draw, arrived, found = random.Random(seed), {}, 0
    service = service or Service(attempt=mark_executed, cost=0.004)

    def arrive(number: int) -> None:
        calls = [
            {"function": jobs.nothing, "priority": draw.choice([-3, 0, 0, 0, 2, 7])}
            for _ in range(number)
        ]
        arrived.update({job.pk: (job.priority, service.time.now) for job in schedule_many(calls)})

    def handed_out(number: int, hint: Hint) -> None:
        nonlocal found, arrivals
        priority, now = arrived.pop(hint.id)[0], service.time.now
        found += any(
            other > priority and since < now - PROMISED for other, since in arrived.values()
        )
        if arrivals and draw.random() < 0.1:
            batch = min(arrivals, draw.randint(1, 25))
            arrivals -= batch
            arrive(batch)

    service.handed_out = handed_out  # type: ignore[method-assign]
    arrive(backlog)
    service.run(until=lambda: not arrived)
    return found


def test_a_job_of_higher_priority_starts_before_any_lower_one_50_ms_later() -> None:
    assert violations(arrivals=2000, backlog=500, seed=1) == 0


def test_it_does_even_while_a_look_from_the_top_takes_long() -> None:
    service = Service(attempt=mark_executed, cost=0.004)
    with slow_looks(service.time, 0.125) as moments:
        assert violations(arrivals=500, backlog=100, seed=1, service=service) == 0
    assert len(moments) > 3


def test_that_test_would_notice_a_service_that_works_through_its_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patrol, "REFRESH_AT_LEISURE", 1.0)
    assert violations(arrivals=300, backlog=200, seed=1) > 10


def test_a_job_that_failed_falls_behind_by_its_lowered_priority() -> None:
    failing = schedule(jobs.fail, priority=5, meta={"backoff": 0, "max_attempts": 2})
    others = [schedule(jobs.note, priority=5) for _ in range(3)]
    service = Service()
    service.run(until=lambda: not Job.objects.pending().exists())
    assert service.served.ids == [failing.pk, *(job.pk for job in others), failing.pk]


def test_a_service_goes_on_when_a_job_fails() -> None:
    jobs_ = [schedule(jobs.fail), schedule(jobs.note)]
    served = Service().run(until=lambda: not Job.objects.due().exists())
    assert served.ids == [job.pk for job in jobs_]


def test_what_a_job_schedules_is_found_without_waiting_for_the_next_poll() -> None:
    schedule(jobs.parent, [3])
    service = Service(interval=Interval(60.0, 60.0))
    service.run(until=lambda: not Job.objects.pending().exists())
    assert len(service.served.ids) == 4
    assert service.time.now < 1.0


def test_nothing_is_waited_for_where_nothing_is_scheduled() -> None:
    assert outlook("default") == Outlook(due=False, next_due=None)
    job = schedule(jobs.note)
    assert outlook("default") == Outlook(True, None, (job.priority,))


@on_commits
@pytest.mark.skipif(connection.vendor == "sqlite", reason="a lock there is everybody's")
def test_a_job_that_somebody_holds_is_offered_again_more_and_more_seldom() -> None:
    job = schedule(jobs.note)
    other = schedule(jobs.note)
    service = Service(interval=Interval(0.05, 0.05))
    with locked(job):
        service.run(until=lambda: service.time.now > 30)
    offers = [at for at, hint in service.served.handed_out if hint.id == job.pk]
    assert other.pk in service.served.ids
    assert 5 <= len(offers) <= 10
    pauses = [late - early for early, late in pairwise(offers)]
    assert pauses == sorted(pauses)


@on_commits
@pytest.mark.skipif(connection.vendor == "sqlite", reason="a lock there is everybody's")
def test_when_a_parent_has_died_what_it_held_is_offered_at_once() -> None:
    job = schedule(jobs.note)
    service = Service(interval=Interval(0.05, 0.05))
    [lane] = service.lanes
    assert isinstance(lane.walk, Patrol)
    died: list[float] = []

    with locked(job):

        def die() -> None:
            if service.time.now > 20 and not died:
                died.append(service.time.now)
                lane.walk.look_now()

        service.each_turn = die
        service.run(until=lambda: service.time.now > 21)
    offers = [at for at, hint in service.served.handed_out if hint.id == job.pk and at > 20]
    assert offers[0] - died[0] < 0.1


@contextmanager
def walk_beside_another() -> Iterator[tuple[Patrol, Time, list[Job]]]:
    """The walk of the second of two parents, and the jobs, of which every other is its own."""
    time = Time()
    reads = fetch.Fetch("default", None, fetch.Selection())
    walk = Patrol(reads, 64, time, Interval(1.0, 1.0))
    made = [schedule(jobs.note, priority=20 - number) for number in range(6)]
    walk.share = Share((made[0].pk + 1) % 2, 2)  # the first job is the other parent's
    yield walk, time, made


def taken(walk: Patrol) -> list[int]:
    hints = []
    while hint := walk.take():
        hints.append(hint.id)
    return hints


def test_what_another_parent_is_to_take_first_is_left_to_it_once() -> None:
    """It may be busy: then the order by priority would suffer."""
    with walk_beside_another() as (walk, time, made):
        assert_takes(walk, made[1])
        time.now += patrol.LEFT_AT_LEAST
        assert_takes(walk, made[0])


def test_it_is_not_looked_for_again_before_what_is_more_urgent_is_done() -> None:
    with walk_beside_another() as (walk, time, made):
        Job.objects.filter(pk=made[3].pk).update(priority=20)
        assert_takes(walk, made[3])
        time.now += patrol.LEFT_AT_LEAST
        walk.put_back(seen_as(made[3]))
        assert walk.at_hand == seen_as(made[3])


def seen_as(job: Job) -> Hint:
    [hint] = fetch.Fetch("default", None, fetch.Selection()).again([job.pk])
    return hint


def test_a_page_is_a_batch_for_each_parent() -> None:
    """Of which this one takes its own."""
    made = schedule_many({"function": jobs.nothing} for _ in range(12))
    walk = Patrol(fetch.Fetch("default", None, fetch.Selection()), 4, Time(), Interval(1.0, 1.0))
    walk.share = Share(1, 3)
    assert walk.take()
    assert len(walk.queued()) == 3
    assert all(job.id % 3 == 1 for job in walk.queued())
    assert {job.id for job in walk.queued()} < {job.pk for job in made}


def looking(time: Time, read: list[int]) -> Patrol:
    """A walk that notes how many jobs each read from the top has found."""
    reads = fetch.Fetch("default", None, fetch.Selection())
    page = reads.page

    def reading(after: Hint | None, limit: int) -> list[Hint]:
        found = page(after, limit)
        read.append(len(found))
        return found

    reads.page = reading  # type: ignore[method-assign]
    return Patrol(reads, 64, time, Interval(1.0, 1.0))


def test_while_hints_are_at_hand_it_reads_no_more_than_what_is_to_precede_them() -> None:
    read: list[int] = []
    time = Time()
    walk = looking(time, read)
    made = [schedule(jobs.note) for _ in range(9)]
    assert_takes(walk, made[0])
    timed = schedule(jobs.note, run_after=timedelta(seconds=-9))
    urgent = schedule(jobs.note, priority=9)
    time.now += patrol.REFRESH_AT_LEISURE
    with CaptureQueriesContext(connection) as captured:
        for job in (urgent, timed, made[1]):
            assert_takes(walk, job)
    assert len(captured) <= (1 if connection.vendor == "postgresql" else 6)
    assert read == [9]


def test_many_that_cannot_be_claimed_hide_none_that_is_less_urgent() -> None:
    time = Time()
    reads = fetch.Fetch("default", None, fetch.Selection())
    walk = Patrol(reads, 4, time, Interval(1.0, 1.0))
    for _ in schedule_many({"function": jobs.nothing, "priority": 9} for _ in range(60)):
        hint = walk.take()
        assert hint is not None
        walk.lost(hint, taken=False)
    made = [schedule(jobs.note, priority=0) for _ in range(3)]
    time.now += patrol.REFRESH_AT_LEISURE
    assert_takes(walk, made[0])
    late = schedule(jobs.note, priority=5)
    time.now += patrol.REFRESH_AT_LEISURE
    assert_takes(walk, late)


def test_hints_that_are_old_are_read_anew() -> None:
    """They may have got another priority."""
    read: list[int] = []
    time = Time()
    walk = looking(time, read)
    made = [schedule(jobs.note) for _ in range(9)]
    assert_takes(walk, made[0])
    Job.objects.filter(pk=made[8].pk).update(priority=9)
    time.now += patrol.RENEWAL
    assert_takes(walk, made[8])
    assert read == [9, 9]


def test_what_is_no_more_urgent_than_its_own_is_left_for_longer() -> None:
    """Or all parents would meet at the same jobs; but who is to take it may be busy for an hour."""
    with walk_beside_another() as (walk, time, made):
        Job.objects.update(priority=0)
        own = [job.pk for job in made[1::2]]
        found = []
        while hint := walk.take():
            found.append(hint.id)
            walk.put_back(hint)
            if time.now > patrol.LEFT_FOR + 5:
                break
            time.now += patrol.REFRESH
            if time.now < patrol.LEFT_FOR:
                assert hint.id in own
        assert made[0].pk in found


def test_a_service_beside_others_takes_all_that_they_leave() -> None:
    with walk_beside_another() as (walk, time, made):
        found: list[int] = []
        for _ in range(4):
            found += taken(walk)
            time.now += patrol.REFRESH
        assert sorted(found) == [job.pk for job in made]


def seldom_looking(time: Time, selection: fetch.Selection | None = None) -> Patrol:
    """A walk that finds little but what it hears of."""
    reads = fetch.Fetch("default", None, selection or fetch.Selection())
    return Patrol(reads, 64, time, Interval(3600.0, 3600.0))


def test_a_job_of_which_it_hears_is_read_by_its_id() -> None:
    walk = seldom_looking(Time())
    assert walk.take() is None
    job = schedule(jobs.note)
    walk.hear([job.pk])
    assert walk.pause == 0
    with CaptureQueriesContext(connection) as captured:
        hint = walk.take()
    assert hint is not None
    assert (hint.id, len(captured)) == (job.pk, 1)


def test_a_job_of_which_it_hears_all_need_not_be_read() -> None:
    walk = seldom_looking(Time())
    assert walk.take() is None
    job = schedule(jobs.note)
    told = Hint(job.pk, 0, 5, None, None)
    walk.hear([told, told])
    with CaptureQueriesContext(connection) as captured:
        assert [walk.take(), walk.take()] == [told, None]
    assert len(captured) == 0


@pytest.mark.parametrize(
    "selection",
    [
        fetch.Selection(queues=("mail",)),
        fetch.Selection(prefix="shop."),
        fetch.Selection(paused=frozenset({""})),
        fetch.Selection(which=1, outof=2),
    ],
    ids=str,
)
def test_who_serves_not_all_jobs_reads_those_of_which_it_hears(selection: fetch.Selection) -> None:
    walk = seldom_looking(Time(), selection)
    assert walk.take() is None
    job = schedule(jobs.note)
    while job.pk % 2:
        job = schedule(jobs.note)
    walk.hear([Hint(job.pk, 0, 5, None, None)])
    assert walk.take() is None


def test_who_hears_of_a_job_looks_again_for_those_that_came_right_after_it() -> None:
    """Whoever made them did not say so again."""
    time = Time()
    walk = seldom_looking(time)
    assert walk.take() is None
    first, second = schedule(jobs.note), schedule(jobs.note)
    walk.hear([first.pk])
    assert [hint.id for hint in (walk.take(), walk.take()) if hint] == [first.pk]
    assert 0 < walk.pause <= wake.ECHO
    time.now += walk.pause
    assert_takes(walk, second)


@pytest.mark.parametrize(
    ("parents", "pause"), [(1, wake.ECHO), (3, 3 * wake.ECHO), (1000, patrol.REFRESH)]
)
def test_several_parents_together_look_no_more_often_for_those_than_one_would(
    parents: int, pause: float
) -> None:
    walk = seldom_looking(Time())
    assert walk.take() is None
    walk.share = Share(parents=parents)
    walk.hear([4711])
    assert walk.take() is None
    assert walk.pause == pytest.approx(pause)


def assert_takes(walk: Patrol, job: Job) -> None:
    found = walk.take()
    assert found is not None
    assert found.id == job.pk


def test_a_look_in_between_does_not_take_the_place_of_that_one() -> None:
    time = Time()
    walk = seldom_looking(time)
    walk.hear([4711])
    assert walk.take() is None
    late = schedule(jobs.note)
    time.now += walk.pause
    assert_takes(walk, late)


def test_that_one_is_not_put_off_by_what_is_heard_meanwhile() -> None:
    """Under load something is heard all the time."""
    time = Time()
    walk = seldom_looking(time)
    assert walk.take() is None
    first, late = schedule(jobs.note), schedule(jobs.note)
    walk.hear([first.pk])
    assert walk.take()
    time.now += wake.ECHO - 0.001
    walk.hear([first.pk])
    time.now += 0.001
    assert_takes(walk, late)


def test_what_comes_after_that_one_and_right_after_a_later_word_is_looked_for_as_well() -> None:
    time = Time()
    walk = seldom_looking(time)
    assert walk.take() is None
    walk.hear([4711])
    time.now += wake.ECHO / 2
    walk.hear([4712])
    time.now += wake.ECHO / 2
    assert walk.take() is None
    late = schedule(jobs.note)
    assert 0 < walk.pause <= wake.ECHO
    time.now += wake.ECHO
    assert_takes(walk, late)


def test_nor_is_it_heeded_while_there_is_something_to_hand_out() -> None:
    time = Time()
    walk = seldom_looking(time)
    made = [schedule(jobs.note).pk for _ in range(4)]
    assert walk.take()
    walk.hear([Hint(made[0], 0, 5, None, None)])  # as it may be told late
    time.now += wake.ECHO
    with CaptureQueriesContext(connection) as captured:
        assert [hint.id for hint in (walk.take(), walk.take()) if hint] == made[1:3]
    assert len(captured) == 0


def test_hearing_of_a_job_whose_time_is_to_come_makes_it_look_when_that_is() -> None:
    time = Time()
    walk = seldom_looking(time)
    assert walk.take() is None
    job = schedule(jobs.note, run_after=timedelta(seconds=30))
    walk.hear([job.pk])
    time.now += 1.0
    assert walk.take() is None
    assert walk.take() is None
    assert 25 < walk.pause <= 30


@pytest.mark.parametrize("name", ["mail", None])
def test_of_a_paused_queue_nothing_is_handed_out_until_it_is_resumed(name: str | None) -> None:
    service = Service(interval=Interval(0.05, 0.05))
    made = [schedule(jobs.note, queue="mail") for _ in range(5)]

    def pause(number: int, hint: Hint) -> None:
        service.served.handed_out.append((service.time.now, hint))
        if number == 2:
            pause_queue(name)

    service.handed_out = pause  # type: ignore[method-assign]
    service.cost = 0.05
    service.run(until=lambda: service.time.now > 5)
    assert service.served.ids == [job.pk for job in made[:2]]
    resume_queue(name)
    again = Service().run(until=lambda: not Job.objects.pending().exists())
    assert again.ids == [job.pk for job in made[2:]]


@on_commits
@pytest.mark.django_db(databases=["default", "other"])
def test_several_databases_get_their_turns() -> None:
    """However many jobs one of them has, and whatever their priorities."""
    for _ in range(20):
        schedule(jobs.nothing, priority=9)
    for _ in range(5):
        schedule(jobs.nothing, priority=1, using="other")
    service = Service("default", "other")
    using: list[str] = []

    def attempt(hint: Hint, alias: str, token: str) -> Outcome:
        using.append(alias)
        return mark_executed(hint, alias, token)

    service.attempt = attempt
    service.run(until=lambda: len(using) == 25)
    assert using[:10] == ["default", "other"] * 5
    assert using[10:] == ["default"] * 15


def test_one_failure_is_enough_where_the_operator_wants_it_so() -> None:
    for function in (jobs.fail, jobs.note):
        schedule(function)
    served = Service(options=Options(keep_going=False)).run(until=lambda: False)
    assert len(served.ids) == 1


def test_a_look_at_the_top_reads_past_what_is_in_hand() -> None:
    """Which looks as if it waited, and would else fill the page."""
    made = [job.pk for job in schedule_many({"function": jobs.nothing} for _ in range(60))]
    reads = fetch.Fetch("default", None, fetch.Selection())
    sizes: list[int] = []
    page = reads.page

    def reading(after: Hint | None, limit: int) -> list[Hint]:
        sizes.append(limit)
        return page(after, limit)

    reads.page = reading  # type: ignore[method-assign]
    time = Time()
    walk = Patrol(reads, 4, time, Interval(1.0, 1.0))
    in_hand = [walk.take() for _ in range(4)]
    time.now += 1.0
    assert [hint.id for hint in [*in_hand, walk.take()] if hint] == made[:5]
    assert sizes == [4, 4 + 32]
