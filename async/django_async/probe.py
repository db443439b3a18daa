"""Whether the queue is well: asked often, so that it costs little however many jobs there are."""

from __future__ import annotations

from django.db import Error as DriverError
from django.db import connections
from django.db.models import Exists, OuterRef, Q

from django_async import backlog, clock, pausing, roster, sessions
from django_async.errors import NoticesUnavailable
from django_async.fetch import EVERY_QUEUE
from django_async.models import Group

PATIENCE = 10.0
"""Seconds that the database has to answer: one that is silent is away."""


def ailment(using: str, max_age: float | None = None, host: str | None = None) -> str | None:
    """What is wrong with the queue, in a line; None if it is well.

    Well is a queue with a living parent, on this host or (None) on any, whose oldest due job waits
    for no longer than ``max_age`` seconds. Jobs that run, final jobs, which may have to wait, and
    paused queues are left out.
    """
    try:
        with sessions.bounded_waits(connections[using], PATIENCE):
            if not any(alive and host in (None, one.host) for one, alive in roster.parents(using)):
                return f"No flush_queue is running{f' on {host}' if host else ''}."
            age = None if max_age is None else _oldest_age(using)
    except DriverError as error:
        return f"The database {using!r} does not answer: {error}"
    if age is None or max_age is None or age <= max_age:
        return None
    return f"The oldest due job has been waiting for {age:.0f} s, and {max_age:g} s are allowed."


def _oldest_age(using: str) -> float | None:
    """Seconds that the oldest job waits which somebody could run."""
    paused = pausing.paused(using)
    if EVERY_QUEUE in paused:
        return None
    finals = Group.objects.using(using).filter(final=OuterRef("pk"))
    left_out = Exists(finals) | Q(queue__in=paused) | Q(pk__in=_running(using))
    since = backlog.since_when(using, Q(~left_out, started=None))
    return (clock.now(using) - since).total_seconds() if since else None


def _running(using: str) -> list[int]:
    try:
        return [entry.run.job_id for entry in roster.entries(using)]
    except NoticesUnavailable:
        return []
