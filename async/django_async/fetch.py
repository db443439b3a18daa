"""The statements that look for due jobs: plain reads, in the promised order, a page at a time.

All future jobs of a priority lie, in an index ``(priority, scheduled, id)``, between its due ones
and its unscheduled ones, so that one ``ORDER BY … LIMIT`` would scan them all. The walk goes
through the index in ranges instead, each of which starts where the last one ended:

1. within a priority, the rest of the instant at which the last page ended,
2. the later instants that are due,
3. the jobs without a time,
4. the next lower priority, which the index gives at once.

It stays flat however many jobs wait, are done, or lie in the future. A page begins behind the last
key of the one before: what could not be claimed is not met again and again.

On PostgreSQL the lower priorities are one statement, which a parent prepares: to plan it takes as
long as five times to execute it.

MariaDB and MySQL need ``ORDER BY id`` for the jobs without a time (the longer form sorts), while
PostgreSQL needs ``ORDER BY scheduled, id`` there (the shorter one walks the primary key).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import clock, plans
from django_async.hints import Hint
from django_async.pending import BY_KEY_SQL, in_order_sql, in_order_table, waits_for_sql

COLUMNS = "id, attempts, priority, scheduled, group_id, meta, stamp, started"
NOT_A_WAITING_FINAL = "(group_id IS NULL OR NOT EXISTS ({}))"
BY_TIME = "scheduled, id"
IN_ORDER = "priority DESC, scheduled IS NULL, scheduled, id"
LEVELS = """
WITH RECURSIVE level (priority) AS (
    (SELECT priority FROM async_job WHERE {pending} AND {within} ORDER BY priority DESC LIMIT 1)
    UNION ALL
    SELECT (
        SELECT priority FROM async_job WHERE {pending} AND {within} AND priority < level.priority
        ORDER BY priority DESC LIMIT 1
    )
    FROM level WHERE level.priority IS NOT NULL
)
SELECT page.* FROM level CROSS JOIN LATERAL (({due}) UNION ALL ({unscheduled})) page LIMIT {limit}
"""
"""The priorities one by one from the highest, and of each the due jobs, until there are enough:
PostgreSQL reads on only while rows are asked for, and in this order."""
EVERY_QUEUE = ""
"""What a pause of all queues has for a name."""

Condition = tuple[str, list[Any]]
Range = tuple[Condition, str]
"""And the order within."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which jobs one ``flush_queue`` serves. Without any restriction the walk is flat; with one
    it reads past the jobs that it leaves out."""

    prefix: str = ""
    queues: tuple[str, ...] = ()
    which: int = 0
    outof: int = 1
    paused: frozenset[str] = frozenset()
    """The queues that are left out for now; an empty name is every queue."""

    @property
    def is_everything(self) -> bool:
        """Whether every job is selected."""
        return not (self.prefix or self.queues or self.paused) and self.outof == 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """The jobs that were there, and due, at a moment: what one pass covers."""

    until: Any
    """The database's time, as its driver gives it."""
    last_id: int


def bounds(using: str) -> Bounds:
    """Read the database's time and the greatest id, once."""
    connection = connections[using]
    now, params = clock.statement_time(connection)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now}, COALESCE(MAX(id), 0) FROM async_job", params)
        return Bounds(*cursor.fetchone())


class Fetch:
    """The reads of a pass, within its bounds; or, without any, of a service: what is due by now."""

    def __init__(self, using: str, bounds: Bounds | None, selection: Selection) -> None:
        self.using = using
        self.bounds = bounds
        self.selection = selection

    def page(self, after: Hint | None, limit: int) -> list[Hint]:
        """The next due jobs behind ``after``, in order; fewer than ``limit`` only at the end."""
        page = self._first(self._rest_of_priority(after), limit)
        if len(page) >= limit:
            return page
        than = None if after is None else after.priority
        return page + self._lower(than, limit)[: limit - len(page)]

    def more_urgent(self, than: Hint, limit: int) -> list[Hint]:
        """The first due jobs of higher priorities, and, if this one has no time, those of its own
        that have one. (Not those whose time is earlier: behind a job that has one, all that run
        would be read again and again.)"""
        if self._connection.vendor != "postgresql":
            return self._first(self._ranges_above(than), limit)
        least = than.priority
        [((due, now), by_time), ((unscheduled, _), order)] = self._ranges_of("level.priority", [])
        with_time = f"{due} AND (level.priority > %s OR %s)", [*now, least, than.scheduled is None]
        without = f"{unscheduled} AND level.priority > %s", [least]
        within = "priority >= %s", [least]
        return self._read_levels(within, [(with_time, by_time), (without, order)], limit)

    def again(self, ids: Iterable[int]) -> list[Hint]:
        """Those of the jobs that are still due in this pass, as they are now."""
        ids = list(ids)
        if not ids:
            return []
        marks = ", ".join(["%s"] * len(ids))
        until, params = self._until
        due = f"id IN ({marks}) AND (scheduled IS NULL OR scheduled <= {until})"
        return self._read((due, [*ids, *params]), BY_TIME, len(ids), pending=BY_KEY_SQL)

    def finals(self, groups: Iterable[int]) -> list[Hint]:
        """The final jobs of these groups that have nothing more to wait for."""
        groups = list(groups)
        if not groups:
            return []
        marks = ", ".join(["%s"] * len(groups))
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT final_id FROM async_group WHERE final_id IS NOT NULL AND id IN ({marks})",
                groups,
            )
            finals = [row[0] for row in cursor.fetchall()]
        return self.again(finals)

    def count(self, at_most: int) -> int:
        """How many jobs the pass has before it, counted no further than ``at_most``."""
        until, params = self._until
        where, params = self._where((f"(scheduled IS NULL OR scheduled <= {until})", params))
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT COUNT(*) FROM (SELECT id FROM async_job WHERE {where} LIMIT %s) pending",
                [*params, at_most],
            )
            return int(cursor.fetchone()[0])

    def since(self, seen: Bounds, priorities: Collection[int], limit: int) -> list[Hint]:
        """What is due and was not yet there, or not yet due, within these bounds: up to ``limit``
        of each kind. Of what was there, it looks at these priorities."""
        until, now = self._until
        new = f"id > %s AND (scheduled IS NULL OR scheduled <= {until})", [seen.last_id, *now]
        found = self._read(new, IN_ORDER, limit, pending=BY_KEY_SQL)
        if priorities:
            marks = ", ".join(["%s"] * len(priorities))
            time_has_come = (
                f"priority IN ({marks}) AND scheduled > %s AND scheduled <= {until} AND id <= %s",
                [*priorities, seen.until, *now, seen.last_id],
            )
            found += self._read(time_has_come, IN_ORDER, limit)
        return found

    @property
    def _until(self) -> Condition:
        """SQL and its parameters for the time up to which jobs are due."""
        if self.bounds is not None:
            return "%s", [self.bounds.until]
        return clock.statement_time(self._connection)

    @property
    def _connection(self) -> BaseDatabaseWrapper:
        return connections[self.using]

    def _rest_of_priority(self, after: Hint | None) -> Iterator[Range]:
        """The ranges behind a key, each asked for when those before gave too little."""
        if after is None:
            return
        at = after.priority
        if after.scheduled is not None:
            until, now = self._until
            instant = "priority = %s AND scheduled = %s AND id > %s"
            yield (instant, [at, after.scheduled, after.id]), BY_TIME
            later = f"priority = %s AND scheduled > %s AND scheduled <= {until}"
            yield (later, [at, after.scheduled, *now]), BY_TIME
        behind = after.id if after.scheduled is None else 0
        condition = "priority = %s AND scheduled IS NULL AND id > %s", [at, behind]
        yield condition, self._order_of_unscheduled

    def _first(self, ranges: Iterable[Range], limit: int) -> list[Hint]:
        """The first jobs of these ranges, none of which is read once there are enough."""
        page: list[Hint] = []
        for condition, order in ranges:
            page += self._read(condition, order, limit - len(page))
            if len(page) >= limit:
                break
        return page

    def _lower(self, than: int | None, limit: int) -> list[Hint]:
        """Of all lower priorities, the first due jobs."""
        if self._connection.vendor == "postgresql":
            within = ("priority < %s", [than]) if than is not None else ("TRUE", [])
            return self._read_levels(within, self._ranges_of("level.priority", []), limit)
        levels = (self._ranges_of("%s", [priority]) for priority in self._priorities(than))
        return self._first(chain.from_iterable(levels), limit)

    def _ranges_above(self, than: Hint) -> Iterator[Range]:
        """See more_urgent()."""
        for priority in takewhile(lambda one: one >= than.priority, self._priorities(None)):
            due, unscheduled = self._ranges_of("%s", [priority])
            if priority > than.priority:
                yield from (due, unscheduled)
            elif than.scheduled is None:
                yield due

    def _priorities(self, than: int | None) -> Iterator[int]:
        """Those that are lower, from the highest."""
        priority = self._lower_priority(than)
        while priority is not None:
            yield priority
            priority = self._lower_priority(priority)

    def _ranges_of(self, priority: str, params: list[Any]) -> list[Range]:
        """The two ranges of a priority."""
        until, now = self._until
        due = f"priority = {priority} AND scheduled <= {until}", [*params, *now]
        unscheduled = f"priority = {priority} AND scheduled IS NULL", params
        return [(due, BY_TIME), (unscheduled, self._order_of_unscheduled)]

    @property
    def _order_of_unscheduled(self) -> str:
        return BY_TIME if self._connection.vendor != "mysql" else "id"

    def _read_levels(self, within: Condition, ranges: Iterable[Range], limit: int) -> list[Hint]:
        params = within[1] * 2
        reads = []
        for condition, order in ranges:
            where, more = self._where(condition)
            reads.append(
                f"SELECT {COLUMNS} FROM async_job WHERE {where} ORDER BY {order} LIMIT {limit:d}"
            )
            params += more
        sql = LEVELS.format(
            pending=in_order_sql("postgresql"),
            within=within[0],
            due=reads[0],
            unscheduled=reads[1],
            limit=limit,
        )
        return self._hints(sql, params)

    def _lower_priority(self, than: int | None) -> int | None:
        lower, params = ("priority < %s", [than]) if than is not None else ("1 = 1", [])
        vendor = self._connection.vendor
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT priority FROM {in_order_table(vendor)} WHERE {in_order_sql(vendor)}"
                f" AND {lower} ORDER BY priority DESC LIMIT 1",
                params,
            )
            row = cursor.fetchone()
        return row[0] if row else None

    def _read(
        self, condition: Condition, order: str, limit: int, pending: str | None = None
    ) -> list[Hint]:
        where, params = self._where(condition, pending)
        table = in_order_table(self._connection.vendor) if pending is None else "async_job"
        sql = f"SELECT {COLUMNS} FROM {table} WHERE {where} ORDER BY {order} LIMIT %s"
        with self._connection.cursor() as cursor:
            cursor.execute(sql, [*params, limit])
            return [Hint(*row) for row in cursor.fetchall()]

    def _hints(self, sql: str, params: list[Any]) -> list[Hint]:
        """What a statement finds that is worth to be prepared."""
        return [Hint(*row) for row in plans.ask(sql, params, self._connection)]

    def _where(self, condition: Condition, pending: str | None = None) -> Condition:
        """The condition, together with what holds for every job of the pass."""
        vendor = self._connection.vendor
        terms, params = [pending or in_order_sql(vendor), condition[0]], list(condition[1])
        terms.append(NOT_A_WAITING_FINAL.format(waits_for_sql(vendor, "async_job.id")))
        if self.bounds is not None:
            terms.append("id <= %s")
            params.append(self.bounds.last_id)
        for term, values in self._restrictions():
            terms.append(term)
            params += values
        return " AND ".join(terms), params

    def _restrictions(self) -> Iterator[Condition]:
        chosen = self.selection
        if chosen.prefix:
            # Not LIKE, which ignores case on SQLite.
            start = self._exact("SUBSTR(name, 1, %s)")
            yield f"{start} = %s", [len(chosen.prefix), chosen.prefix]
        if chosen.queues:
            marks = ", ".join(["%s"] * len(chosen.queues))
            yield f"{self._exact('queue')} IN ({marks})", list(chosen.queues)
        if EVERY_QUEUE in chosen.paused:
            yield "1 = 0", []
        elif chosen.paused:
            marks = ", ".join(["%s"] * len(chosen.paused))
            yield f"{self._exact('queue')} NOT IN ({marks})", sorted(chosen.paused)
        if chosen.outof > 1:
            yield "id %% %s = %s", [chosen.outof, chosen.which % chosen.outof]

    def _exact(self, text: str) -> str:
        """The text compared by its bytes: MySQL's collations ignore case, accents and more."""
        return f"CAST({text} AS BINARY)" if self._connection.vendor == "mysql" else text
