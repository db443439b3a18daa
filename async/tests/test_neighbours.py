"""Which jobs are before and behind one in the queue."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.db.models import Q

from django_async import clock, schedule
from django_async.clock import DatabaseNow
from django_async.models import Job
from django_async.neighbours import NUMBER, neighbours
from suite import costs
from suite.jobs import nothing

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def fill(number: int, priorities: int) -> None:
    """Jobs of some priorities: a third without a time, others whose time has come or is to come,
    some of them at the same moment; and a few that have ended."""
    random.seed(number)
    now = clock.now("default")
    job = schedule(nothing)
    made = []
    for _ in range(number):
        minutes = random.choice([None, None, None, -50, -40, -40, -30, 40, 40, 50])
        when = None if minutes is None else now + timedelta(minutes=minutes)
        ended = now if random.random() < 0.1 else None
        made.append(
            Job(
                name=job.name,
                identity=job.identity,
                added=now,
                priority=random.randrange(priorities),
                scheduled=when,
                started=ended,
                executed=ended,
            )
        )
    Job.objects.bulk_create(made)


def around(job: Job, order: list[int]) -> tuple[list[int], list[int]]:
    place = order.index(job.pk)
    return order[max(0, place - NUMBER) : place], order[place + 1 : place + 1 + NUMBER]


def test_they_are_those_of_the_hand_out() -> None:
    fill(150, priorities=4)
    due = list(Job.objects.due().in_order().values_list("pk", flat=True))
    for job in Job.objects.due():
        before, after = neighbours(job)
        assert ([one.pk for one in before], [one.pk for one in after]) == around(job, due)


def test_those_whose_time_is_to_come_are_among_themselves() -> None:
    fill(150, priorities=2)
    for job in Job.objects.waiting():
        order = Job.objects.waiting().filter(priority=job.priority).order_by("scheduled", "id")
        before, after = neighbours(job)
        expected = around(job, list(order.values_list("pk", flat=True)))
        assert ([one.pk for one in before], [one.pk for one in after]) == expected


def test_a_job_alone_has_none() -> None:
    assert neighbours(schedule(nothing)) == ([], [])


@pytest.mark.django_db(transaction=True)  # to analyse tables commits what there is, on MariaDB
def test_the_cost_does_not_grow_with_the_queue() -> None:
    found = []
    for number in (1_000, 6_000):
        fill(number, priorities=3)
        costs.analyse()
        jobs = [
            Job.objects.due().filter(where, priority=1)[50]
            for where in (Q(scheduled=None), Q(scheduled__lt=DatabaseNow()))
        ]
        found.append(sum(costs.cost(lambda job=job: neighbours(job)) for job in jobs))  # type: ignore[misc]
    assert found[1] < 1.5 * found[0] + 50
