"""Wall clocks: hosts that differ from the database, and the two days when the hour changes.

PostgreSQL and MariaDB run on a private server whose clock the suite sets, beside that of the host
of flush_queue. SQLite has no clock, so that there is the process's only, and no host that could be
ahead of it; that each job runs at its time by this one clock is what is checked there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from unittest.mock import patch

from django.db import connection

from django_async import clock
from django_async.models import Job
from faults import work
from faults.clocks import Clock, clocks
from faults.elsewhere import on_private_server
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.world import World

HOUR, MINUTE = 3600.0, 60.0
ZONE = "Europe/Berlin"
SPRING = datetime(2027, 3, 28, 1, tzinfo=UTC).timestamp()
"""Two o'clock becomes three."""
AUTUMN = datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp()
"""Three o'clock becomes two, so that an hour's wall-clock times come twice."""


@dataclass(frozen=True, slots=True)
class Day:
    """Where and when jobs are scheduled, and how much later they are due.

    Attributes:
        start: seconds of the epoch.
        delays: seconds from there; the short form takes the first one only.
        ahead: seconds that the host's clock is ahead of the database's.
        use_tz: Django's setting.
    """

    name: str
    start: float
    delays: tuple[float, ...]
    ahead: float = 0.0
    use_tz: bool = True

    def in_short(self) -> Day:
        """The same with the most telling of its delays."""
        return replace(self, delays=self.delays[:1])


def days() -> list[Day]:
    """Across the change with time zones in the database, jobs may be due at any moment. Without
    them the database holds wall-clock times, of which the repeated hour's mean two moments: only
    jobs that are due outside of it are judged."""
    soon, later = 10 * MINUTE, 3 * HOUR
    within = (80 * MINUTE, 20 * MINUTE, 50 * MINUTE)
    found = [
        Day("spring, host an hour ahead", SPRING - HOUR / 2, within, ahead=HOUR),
        Day("autumn, host an hour behind", AUTUMN - HOUR / 2, within, ahead=-HOUR),
        Day("spring without USE_TZ", SPRING - HOUR / 2, (later, soon), use_tz=False),
        Day("autumn without USE_TZ", AUTUMN - 1.5 * HOUR, (later, soon), use_tz=False),
    ]
    if connection.vendor == "mysql":  # where it is for the client to say what wall-clock time it is
        delays = soon, later
        found.append(
            Day("spring without USE_TZ, ahead", SPRING - HOUR / 2, delays, HOUR, use_tz=False)
        )
    return found


@scenario(15, "clocks", limit=240.0)
def set_clocks(world: World, scale: Scale, rng: Random) -> Figures:
    """Clocks differ and hours change: no job runs early by the database's clock, and none late."""
    chosen = days() if scale.strict else [day.in_short() for day in days()]
    with ExitStack() as stack:
        clocks_of = stack.enter_context(_two_clocks(world))
        for day in chosen:
            _live_through(world, day, *clocks_of)
    return {"days": len(chosen)}


@contextmanager
def _two_clocks(world: World) -> Iterator[tuple[Clock, Clock]]:
    """The database's clock and the host's."""
    with clocks("server", "host") as [server, host]:
        if connection.vendor == "sqlite":
            yield host, host
        else:
            with on_private_server(world, **server.environment):
                yield server, host


def _live_through(world: World, day: Day, server: Clock, host: Clock) -> None:
    """Schedule on that day, and look shortly before and after each job's time."""

    def at(moment: float) -> None:
        host.set(moment + day.ahead)
        server.set(moment)

    at(day.start)
    [planner] = world.schedule(work.plan, [[list(day.delays)]])
    _flush(world, day, host)
    planned = list(Job.objects.filter(pk__gt=planner).order_by("pk").values_list("pk", flat=True))
    if day.use_tz:
        _must_be_stamped(day, planner)
    for delay, job in sorted(zip(day.delays, planned, strict=True)):
        for moment, due in ((delay - MINUTE, False), (delay + MINUTE, True)):
            at(day.start + moment)
            _flush(world, day, host)
            _must_have_run(day, delay, job, due)


def _flush(world: World, day: Day, host: Clock) -> None:
    place = {**host.environment, "FAULTS_TIME_ZONE": ZONE}
    if not day.use_tz:
        place["FAULTS_USE_TZ"] = "no"
    with patch.dict(os.environ, place), world.flush(workers=0) as flush:
        flush.end(0)


def _must_be_stamped(day: Day, job: int) -> None:
    """When it was executed is told by the database's clock."""
    if connection.vendor == "sqlite":
        return
    now, executed = clock.now("default"), Job.objects.get(pk=job).executed
    if executed is None or abs(now - executed) > timedelta(minutes=1):
        raise Violation(f"{day.name}: it is {now}, and a job of just now has {executed}")


def _must_have_run(day: Day, delay: float, job: int, due: bool) -> None:
    ran = Job.objects.get(pk=job).state == "executed"
    if ran != due:
        kind = "early" if ran else "late"
        raise Violation(
            f"{day.name}: the job that is due after {delay / MINUTE:g} minutes is {kind}, by the"
            " clock that judges what is due"
        )
