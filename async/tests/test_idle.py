"""What a service does that has nothing to do, how seldom, and what it still notices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_async import clock, glance, schedule
from django_async.api import pause_queue, resume_queue, schedule_many
from django_async.hints import Hint
from django_async.lane import FORETHOUGHT, IDLE_BEAT
from django_async.models import Cancellation, Job
from django_async.noticeboard import noticeboard
from django_async.outlook import Outlook, outlook
from django_async.parents import Registration
from django_async.patrol import Interval
from suite import jobs
from suite.service import Service
from suite.together import alive, elsewhere, left_behind

pytestmark = pytest.mark.django_db(transaction=True)

Looks = Callable[[Service], list[float]]

SELDOM = Interval(3600.0, 3600.0)
"""Seconds between two looks for jobs, with which nothing is found in time by looking for jobs."""

WATCHING = Interval(0.05, 3600.0)
"""The same, and between two looks for changes, where there are such."""

on_sqlite = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="only SQLite's file tells its version"
)

LATER, SOON = 100.0, 2.0
"""Seconds: when the service has long been idle, and within which it is to notice what happens."""


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """To record when a service looks for jobs and finds that there are none."""

    def record(service: Service) -> list[float]:
        moments: list[float] = []

        def look(using: str) -> Outlook:
            moments.append(service.time.now)
            return outlook(using)

        monkeypatch.setattr(glance, "outlook", look)
        return moments

    return record


def pauses(moments: Sequence[float]) -> list[float]:
    return [late - early for early, late in pairwise(moments)]


def later(service: Service, act: Callable[[], object]) -> None:
    """Act once, when the service has long been idle."""
    acts = [act]

    def each_turn() -> None:
        if service.time.now >= LATER and acts:
            acts.pop()()

    service.each_turn = each_turn


def ask_to_cancel(job: Job) -> None:
    request = Cancellation(job_id=job.pk, added=job.added, asked=clock.now("default"))
    board = noticeboard("default")
    board.ask([request])
    board.close()


def test_it_looks_less_and_less_often(looks: Looks) -> None:
    service = Service(interval=Interval(0.05, 4.0))
    moments = looks(service)
    service.run(until=lambda: service.time.now > 20)
    assert pauses(moments)[:9] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0])


def test_after_a_job_it_looks_often_again(looks: Looks) -> None:
    service = Service(interval=Interval(0.05, 4.0))
    moments = looks(service)
    later(service, lambda: schedule(jobs.note))
    served = service.run(until=lambda: service.time.now > LATER + 20)
    [(began, _)] = served.handed_out
    before = pauses([moment for moment in moments if moment < began])
    after = pauses([moment for moment in moments if moment > began])
    assert before[-1] == max(after) == pytest.approx(4.0)
    assert min(after) < 0.1


@on_sqlite
def test_on_sqlite_it_looks_soon_after_somebody_has_committed() -> None:
    service = Service(interval=WATCHING, watches=True)
    later(service, lambda: elsewhere(schedule, jobs.note))
    served = service.run(until=lambda: service.served.ended)
    [(began, _)] = served.handed_out
    assert began < LATER + 3 * WATCHING.least


@on_sqlite
def test_on_sqlite_it_looks_no_more_often_while_nobody_commits(looks: Looks) -> None:
    service = Service(interval=WATCHING, watches=True)
    moments = looks(service)
    service.run(until=lambda: service.time.now > LATER)
    assert pauses(moments)[-1] == pytest.approx(max(pauses(moments)))
    assert len(moments) < 15


@on_sqlite
def test_on_sqlite_it_looks_after_it_has_connected_anew(looks: Looks) -> None:
    """What was committed meanwhile is in no version that it knows."""
    service = Service(interval=WATCHING, watches=True)
    moments = looks(service)
    later(service, connection.close)
    service.run(until=lambda: service.time.now > LATER + SOON)
    assert moments[-1] > LATER


@on_sqlite
def test_on_sqlite_it_asks_for_no_changes_while_a_job_holds_the_writer() -> None:
    """A job that writes much may keep all readers out."""
    assert watches_beside(None)
    assert not watches_beside(schedule(jobs.note))
    assert watches_beside(schedule(jobs.note, meta={"atomic": False}))


def watches_beside(job: Job | None) -> bool:
    lane = Service(watches=True).lanes[0]
    if job:
        lane.take(1, Hint(job.pk, 0, job.priority, None, None, job.meta))
    return lane.is_watching


def test_a_job_starts_when_its_time_comes_and_not_at_the_next_look() -> None:
    schedule(jobs.note, run_after=timedelta(seconds=3.2), priority=-7)
    schedule(jobs.note, run_after=timedelta(days=3), priority=9)
    service = Service(interval=SELDOM)
    expected = outlook("default")
    assert expected.next_due is not None
    assert (expected.due, 2.5 < expected.next_due <= 3.2) == (False, True)
    waits: list[float | None] = []
    service.each_turn = lambda: waits.append(service.lanes[0].walk.pause)
    service.run(until=lambda: service.turns > 30)
    assert max(wait for wait in waits if wait is not None) <= 3.2


@pytest.mark.parametrize("beside_another", [False, True], ids=["alone", "beside another"])
def test_it_takes_over_what_a_dead_parent_left(*, beside_another: bool) -> None:
    service = Service(interval=SELDOM)
    later(service, lambda: left_behind(schedule(jobs.note)))
    with alive(Registration("default").register) if beside_another else nullcontext():
        served = service.run(until=lambda: service.served.ended)
    [(began, _)] = served.handed_out
    assert began < LATER + SOON


def test_it_cancels_what_was_asked_for_and_nobody_runs() -> None:
    job = schedule(jobs.note, run_after=timedelta(days=1))
    service = Service(interval=SELDOM)
    later(service, lambda: ask_to_cancel(job))
    service.run(until=lambda: Job.objects.cancelled().exists())
    assert service.time.now < LATER + SOON


def test_it_notices_that_a_queue_is_resumed() -> None:
    schedule(jobs.note, queue="mail")
    pause_queue("mail")
    service = Service(interval=SELDOM)
    later(service, lambda: resume_queue("mail"))
    service.run(until=lambda: service.served.ended)
    assert service.time.now < LATER + SOON


def test_a_look_takes_few_statements() -> None:
    """However many jobs are done or lie in the future, at however many priorities."""
    schedule_many(
        {"function": jobs.note, "run_after": timedelta(days=1), "priority": number}
        for number in range(30)
    )
    service = Service(interval=Interval(1.0, 1.0))
    counts: list[int] = []
    with CaptureQueriesContext(connection) as captured:

        def count() -> None:
            counts.append(len(captured))

        service.each_turn = count
        service.run(until=lambda: service.time.now > 20)
    each = [late - early for early, late in pairwise(counts[5:])]
    assert max(each) <= 8


def test_a_second_between_two_looks_takes_six_statements_at_most() -> None:
    service, seconds = Service(interval=SELDOM), 100
    before: list[int] = []
    with alive(Registration("default").register), CaptureQueriesContext(connection) as captured:
        later(service, lambda: before.append(len(captured)))
        service.run(until=lambda: service.time.now > LATER + seconds)
        assert 0 < len(captured) - before[0] <= 6 * seconds + 20


def test_an_idle_parent_that_is_awake_sees_to_what_is_due_soon() -> None:
    """To wake takes it longer than what it wakes for."""
    service = Service(interval=SELDOM)
    [lane] = service.lanes
    lane.open()
    lane.attend()
    counts: list[int] = []
    for seconds in (IDLE_BEAT - FORETHOUGHT - 0.05, 0.1, 0.1):
        service.time.now += seconds
        with CaptureQueriesContext(connection) as captured:
            lane.attend()
        counts.append(len(captured))
    lane.close()
    assert [bool(count) for count in counts] == [False, True, False]


@pytest.mark.parametrize("beside_another", [False, True], ids=["alone", "beside another"])
def test_a_parent_does_not_keep_house_after_each_short_job(*, beside_another: bool) -> None:
    service = Service(interval=SELDOM)
    [lane] = service.lanes
    with alive(Registration("default").register) if beside_another else nullcontext():
        lane.open()
        lane.attend()
        with CaptureQueriesContext(connection) as captured:
            for number in range(1, 21):
                lane.take(number, Hint(number, 0, 0, None, None))
                service.time.now += 0.005
                lane.release(number)
                lane.attend()
        lane.close()
    assert len(captured) == 0
