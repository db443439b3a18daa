"""How long a parent hears nothing of its workers: never so long that one of them runs dry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
from django.db import connection

from django_async import rest, schedule
from django_async.models import Job
from django_async.rest import Rest
from suite import jobs
from suite.service import Service


@dataclass
class Books:
    """What a pool says of itself."""

    ahead: int
    room: int = 0


def rests(*ahead_at_the_end: int, at_the_begin: int = 16) -> list[float]:
    """The lengths of rests, after each of which so many jobs still lay ahead."""
    learning, lengths = Rest(), []
    for left in ahead_at_the_end:
        lengths.append(learning.begin(cast("Any", Books(at_the_begin))))
        learning.end(cast("Any", Books(left)))
    return lengths


def test_while_enough_is_left_a_rest_grows_to_its_longest() -> None:
    lengths = rests(*[16] * 20)
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (rest.FIRST, rest.LONGEST)


@pytest.mark.parametrize("left", [0, 1, 3])
def test_when_too_little_is_left_the_next_one_is_half_as_long(left: int) -> None:
    first, second, *_ = rests(left, 16)
    assert second == first / 2


def test_it_settles_where_something_is_left() -> None:
    """With jobs that end at a steady pace."""
    learning, pace, lengths = Rest(), 6_000, []
    for _ in range(100):
        seconds = learning.begin(cast("Any", Books(16)))
        learning.end(cast("Any", Books(max(0, 16 - int(pace * seconds)))))
        lengths.append(seconds)
    assert max(lengths[20:]) * pace < 12
    assert min(lengths[20:]) * pace > 7


def test_while_more_could_be_handed_out_there_is_none() -> None:
    learning = Rest()
    assert learning.begin(cast("Any", Books(ahead=3, room=1))) == 0.0
    assert learning.begin(cast("Any", Books(ahead=0))) == 0.0
    learning.end(cast("Any", Books(ahead=0)))
    assert learning.begin(cast("Any", Books(ahead=16))) == rest.FIRST


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one job at a time: nothing goes ahead")
def test_a_service_rests_only_while_all_that_may_lies_ahead() -> None:
    for _ in range(30):
        schedule(jobs.nothing)
    service = Service(ahead=6)
    seen: list[tuple[bool, int]] = []
    wait = service.pool.wait

    def noting(timeout: Any, wakeups: Any, rest: float) -> Any:
        seen.append((rest > 0, service.pool.room))
        return wait(timeout, wakeups, rest)

    cast("Any", service.pool).wait = noting
    service.run(lambda: not Job.objects.pending().exists())
    assert (True, 0) in seen
    assert all(not rests or not room for rests, room in seen)
    assert seen[-1][0] is False
