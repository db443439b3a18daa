"""The cleaner of a service: what ended long ago goes, a few at a time, beside the jobs."""

from __future__ import annotations

import operator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection

from django_async import clock, locks, schedule
from django_async.engine import Duty, Engine
from django_async.models import Job, Parent
from django_async.parents import Registration
from django_async.retention import remove_some
from django_async.upkeep import Cleaner
from suite.jobs import nothing
from suite.service import Service
from suite.together import alive, locked

pytestmark = pytest.mark.django_db

DAY = 86_400.0


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
def test_what_somebody_has_locked_is_left_and_the_others_go() -> None:
    jobs = [ended(9) for _ in range(3)]
    with locked(jobs[0]):
        assert remove_some(DAY, "default", 10) == 2
        assert left() == {jobs[0].pk}
    assert remove_some(DAY, "default", 10) == 1


def test_what_is_retried_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what is old and its deletion."""
    job = schedule(nothing)
    Job.objects.filter(pk=job.pk).update(cancelled=clock.now("default") - timedelta(days=9))
    lock = locks.lock_all

    def late(*args: Any, **options: Any) -> Any:
        job.retry()
        return lock(*args, **options)

    monkeypatch.setattr("django_async.retention.lock_all", late)
    assert remove_some(DAY, "default", 10) == 0
    assert left() == {job.pk}


class Counted(Cleaner):
    """Deletes two at a time."""

    BATCH = 2


def ended(days: float) -> Job:
    job = schedule(nothing)
    when = clock.now("default") - timedelta(days=days)
    Job.objects.filter(pk=job.pk).update(started=when, executed=when)
    return job


def left() -> set[int]:
    return set(Job.objects.values_list("pk", flat=True))


def serve(service: Service, seconds: float, *before: Duty) -> None:
    """Have the service, with a cleaner, do what it does for so long of its time."""
    cleaners = [Counted(lane, 7 * DAY, operator.call) for lane in service.lanes]
    service.run(lambda: service.time.now > seconds, *before, *cleaners)


def test_a_service_deletes_what_ended_longer_ago_than_the_retention() -> None:
    for _ in range(5):
        ended(8)
    young, pending = ended(6), schedule(nothing, run_after=timedelta(days=1))
    serve(Service(), 5.0)
    assert left() == {young.pk, pending.pk}


def test_it_looks_again_after_a_while() -> None:
    service = Service()
    service.each_turn = lambda: ended(8) if 10 < service.time.now < 30 else None
    serve(service, 200.0)
    assert left() == set()


def test_it_deletes_a_few_at_a_time_with_pauses_for_others() -> None:
    for _ in range(6):
        ended(8)
    service, seen = Service(), list[int]()
    service.each_turn = lambda: seen.append(Job.objects.count())
    serve(service, 5.0)
    assert sorted(set(seen), reverse=True) == [4, 2, 0]


def test_a_batch_that_takes_long_is_followed_by_a_pause_four_times_as_long() -> None:
    """As beside an old transaction, where what was deleted before has to be read past."""
    for _ in range(60):
        ended(8)
    service = Service()
    began: list[float] = []

    def slowly(function: Any, *args: Any) -> Any:
        began.append(service.time.now)
        service.time.now += 1.0
        return function(*args)

    cleaner = Counted(service.lanes[0], 7 * DAY, slowly)
    service.run(lambda: service.time.now > 60.0, cleaner)
    assert 10 <= len(began) <= 60 / 5 + 1
    assert min(late - early for early, late in pairwise(began)) >= 5.0


@pytest.mark.django_db(transaction=True)
def test_of_several_parents_the_first_one_does_it() -> None:
    old = ended(8)
    first = Registration("default")
    with alive(first.register):
        serve(Service(), 5.0)
        assert left() == {old.pk}
    Parent.objects.filter(token=first.token).delete()
    serve(Service(), 5.0)
    assert left() == set()


class Halt:
    """The operator's wish to stop, as a duty."""

    def see_to(self, engine: Engine) -> float:
        engine.halt()
        return 1.0


def test_a_service_that_stops_deletes_nothing_more() -> None:
    old = ended(8)
    service = Service()
    serve(service, 5.0, Halt())
    assert left() == {old.pk}
