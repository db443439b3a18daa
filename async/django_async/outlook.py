"""What is to be expected of a queue: a few probes into the index for each priority, in one
statement, however many jobs wait for their time."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections

from django_async import clock, plans
from django_async.pending import in_order_sql, in_order_table

OUTLOOK = """
WITH RECURSIVE level (priority) AS (
    SELECT (SELECT priority FROM {table} WHERE {pending} ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (
        SELECT priority FROM {table} WHERE {pending} AND priority < level.priority
        ORDER BY priority DESC LIMIT 1
    )
    FROM level WHERE level.priority IS NOT NULL
)
SELECT
    priority,
    COALESCE(
        (
            SELECT 1 FROM {table} WHERE {pending} AND priority = level.priority
            AND scheduled <= {now} ORDER BY scheduled LIMIT 1
        ),
        (
            SELECT 1 FROM {table} WHERE {pending} AND priority = level.priority
            AND scheduled IS NULL ORDER BY scheduled LIMIT 1
        )
    ),
    (
        SELECT scheduled FROM {table} WHERE {pending} AND priority = level.priority
        AND scheduled > {now} ORDER BY scheduled LIMIT 1
    ),
    {now}
FROM level WHERE priority IS NOT NULL
"""
"""In the index's order and with a LIMIT, as the whole queue is read for MAX() and EXISTS where the
database has no statistics yet of what was scheduled just now."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether there is anything to do, now or later."""

    due: bool
    """Whether a job seems to be due; it may be running."""
    next_due: float | None
    """Seconds until the time of the next job comes; None if none waits for its time."""
    priorities: tuple[int, ...] = ()
    """Those of the pending jobs."""


def outlook(using: str) -> Outlook:
    """Of all jobs, whichever of them are served here."""
    connection = connections[using]
    pending, table = in_order_sql(connection.vendor), in_order_table(connection.vendor)
    now, params = clock.statement_time(connection)
    sql = OUTLOOK.format(pending=pending, table=table, now=now)
    levels = plans.ask(sql, params * 3, connection)
    moments = [(moment, now) for _, _, moment, now in levels if moment is not None]
    pauses = [clock.seconds_between(now, moment) for moment, now in moments]
    return Outlook(
        due=any(due for _, due, _, _ in levels),
        next_due=min((pause for pause in pauses if pause is not None), default=None),
        priorities=tuple(level[0] for level in levels),
    )
