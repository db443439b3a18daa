"""Jobs that are handed out ahead of need: the order holds for when they begin."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from django_async import engine, schedule
from django_async.api import pause_queue, schedule_many
from django_async.hints import Hint
from django_async.models import Job
from django_async.outcomes import Executed, Outcome
from django_async.terms import Options
from suite import jobs
from suite.service import Service

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(
        connection.vendor == "sqlite", reason="SQLite's one writer runs one job after the other"
    ),
]

PROMISED = 0.05
"""Seconds within which a job of higher priority overtakes those that have not started."""

COST = 0.004


def mark_executed(hint: Hint, using: str, token: str) -> Outcome:
    """An attempt that costs one statement, for tests of thousands."""
    now = Job.objects.using(using).get(pk=hint.id).added
    Job.objects.using(using).filter(pk=hint.id).update(executed=now, started=now)
    return Executed(hint, "", 0.0)


def eager(**options: Any) -> Service:
    return Service(attempt=mark_executed, cost=COST, ahead=6, **options)


def scheduled(number: int, priority: int = 0) -> list[int]:
    calls = [{"function": jobs.nothing, "priority": priority} for _ in range(number)]
    return [job.pk for job in schedule_many(calls)]


def begun_by(service: Service, until: Callable[[], Any]) -> list[int]:
    begun: list[int] = []
    before = service.began

    def note(hint: Hint) -> None:
        before(hint)
        begun.append(hint.id)

    service.began = note
    service.run(until)
    return begun


def all_done() -> bool:
    return not Job.objects.pending().exists()


def test_jobs_go_ahead_and_begin_in_their_order() -> None:
    ids = scheduled(20)
    service = eager()
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, service.pool.ahead)

    service.each_turn = look
    assert begun_by(service, all_done) == ids
    assert most >= 5
    assert service.served.taken_back == []


def violations(arrivals: int, seed: int) -> int:
    """How often a job began before one of higher priority that had been there for longer than
    promised, while so many jobs arrived during the drain of a backlog."""
    draw, arrived, found = random.Random(seed), {}, 0
    service = eager()

    def arrive(number: int) -> None:
        for _ in range(number):
            priority = draw.choice([-3, 0, 0, 0, 2, 7])
            job = schedule(jobs.nothing, priority=priority)
            arrived[job.pk] = priority, service.time.now

    def began(hint: Hint) -> None:
        nonlocal found, arrivals
        priority, now = arrived.pop(hint.id)[0], service.time.now
        found += any(
            other > priority and since < now - PROMISED for other, since in arrived.values()
        )
        if arrivals and draw.random() < 0.1:
            batch = min(arrivals, draw.randint(1, 10))
            arrivals -= batch
            arrive(batch)

    service.began = began
    arrive(100)
    service.run(until=lambda: not arrived)
    assert service.served.taken_back
    return found


def test_a_job_of_higher_priority_begins_before_any_lower_one_50_ms_later() -> None:
    assert violations(arrivals=400, seed=1) == 0


def test_that_test_would_notice_if_nothing_was_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.Engine, "_take_back", lambda self: None)
    monkeypatch.setattr("suite.service._EagerPool.take_back", lambda self: [])
    draw = random.Random(1)
    scheduled(60)
    urgent: dict[int, float] = {}
    service, late = eager(), 0

    def began(hint: Hint) -> None:
        nonlocal late
        late += urgent.pop(hint.id, service.time.now) < service.time.now - COST
        if draw.random() < 0.2 and not urgent:
            urgent[schedule(jobs.nothing, priority=9).pk] = service.time.now

    service.began = began
    service.run(lambda: not urgent and Job.objects.executed().count() > 50)
    assert late


def test_what_stands_still_is_taken_back_and_begins_later() -> None:
    """Behind jobs that take long there is no sense in it, and each would stand in the way."""
    ids = scheduled(20)
    service = eager()

    def hold() -> None:
        service.is_held = 0.03 < service.time.now < 1.0
        if 0.2 < service.time.now < 0.9:
            assert service.pool.ahead == 0

    service.each_turn = hold
    assert begun_by(service, all_done) == ids
    assert service.served.taken_back


def test_after_a_halt_nothing_begins_that_was_handed_out() -> None:
    scheduled(20)
    service = eager()
    begun = begun_by(service, lambda: Job.objects.executed().count() == 3)
    assert len(begun) == 3
    assert Job.objects.due().count() == 17
    assert len(service.served.taken_back) == len(service.served.handed_out) - 3


def test_no_more_begin_than_the_limit_allows() -> None:
    scheduled(20)
    service = eager(options=Options(limit=7, keep_going=True))
    assert len(begun_by(service, lambda: False)) == 7
    assert len(service.served.handed_out) == 7


def test_what_is_taken_back_of_a_paused_queue_stays_where_it_is() -> None:
    scheduled(10)
    service = eager()

    def pause(hint: Hint) -> None:
        if Job.objects.executed().count() == 2:
            pause_queue("default")

    service.began = pause
    begun = begun_by(service, lambda: service.time.now > 3)
    handed_out_before = [hint.id for at, hint in service.served.handed_out if at < PROMISED]
    assert set(begun) <= set(handed_out_before)
    assert Job.objects.pending().count() == 10 - len(begun)


def test_what_was_handed_out_of_a_queue_that_is_paused_now_does_not_begin() -> None:
    scheduled(80)
    service = Service(attempt=mark_executed, cost=COST, ahead=40)
    paused_at: float | None = None

    def pause() -> None:
        nonlocal paused_at
        if paused_at is None and service.pool.ahead:
            pause_queue()
            paused_at = service.time.now

    def is_late() -> bool:
        return paused_at is not None and service.time.now > paused_at + 1.0

    service.each_turn = pause
    begun: list[float] = []
    before = service.began

    def note(hint: Hint) -> None:
        before(hint)
        begun.append(service.time.now)

    service.began = note
    service.run(is_late)
    assert paused_at is not None
    assert max(begun) < paused_at + PROMISED
    assert Job.objects.pending().exists()


def test_one_that_began_unseen_does_not_keep_the_others_from_being_handed_out() -> None:
    """The pool still calls it waiting, and cannot take it back."""
    scheduled(6)
    service = eager()
    pool: Any = service.pool
    taken_back = pool.take_back
    unseen: list[Any] = []

    def take_all_but_the_first() -> list[Any]:
        if len(pool._waiting) > 1 and not unseen:
            unseen.append(pool._waiting[0])
            first, pool._waiting = pool._waiting[0], pool._waiting[1:]
            tasks = taken_back()
            pool._waiting = [first]
            return list(tasks)
        return []

    pool.take_back = take_all_but_the_first

    def arrive(hint: Hint) -> None:
        if Job.objects.count() == 6:
            scheduled(2, priority=9)

    service.began = arrive
    assert len(begun_by(service, all_done)) == 8
