"""Keeping the statistics small: rows about the same are merged, and old ones go.

The last two hours stay in slots of five minutes, what is older in slots of an hour, what is older
than a day in slots of six, and what is older than eight days goes. Any rows about the same may be
merged, by anybody at any time: whoever comes second leaves alone what somebody else has locked, and
adds it up with the rest the next time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from django.db import Error as DriverError
from django.db import connections, transaction
from django.db.models import QuerySet

from django_async import clock, trouble
from django_async.ledger import COLUMNS, Sum, as_rows, slot
from django_async.slots import COARSE, FINE, LONG, WIDTHS, Statistic
from django_async.turn import impatient, take_turn

KEPT = {FINE: timedelta(hours=2), COARSE: timedelta(hours=26), LONG: timedelta(days=8)}
"""How long a slot of each width stays as it is: for as long as it takes to show a whole hour, day
and week in bars of that width, and a little more."""

LATE = timedelta(hours=12)
"""How long after a wider slot was made it may still get company."""

PATIENCE = 0.2
"""Seconds that it waits for SQLite's writer: there is always another time."""

BATCH = 5000
"""Rows that are merged or deleted at a time, at the most."""

LOOKED_AT = 100_000
"""Rows that are looked at for it, at the most."""

Key = tuple[int, datetime, str, str]
"""Width, begin, scope and label."""


def roll_up(using: str) -> int:
    """Merge and delete one batch; by how many rows there are fewer now, 0 if nothing is to do, or
    if SQLite's writer is at work on something else."""
    now = clock.utc_now(using)
    try:
        with impatient(using, PATIENCE):
            return _delete_old(now, using) + _merge(now, using)
    except DriverError as error:
        if trouble.is_conflict(error, using):
            return 0
        raise


def _delete_old(now: datetime, using: str) -> int:
    rows = Statistic.objects.using(using)
    old = rows.filter(width__in=WIDTHS, begin__lt=clock.as_field_value(now - KEPT[LONG]))
    ids = list(old.order_by("width", "begin").values_list("pk", flat=True)[:BATCH])
    return rows.filter(pk__in=ids).delete()[0] if ids else 0


def _merge(now: datetime, using: str) -> int:
    groups: dict[Key, list[tuple[int, int]]] = defaultdict(list)
    for pk, width, begin, scope, label in _candidates(now, using):
        groups[_target(width, begin, scope, label, now)].append((pk, width))
    ids = [pk for key, rows in groups.items() if _is_worth(key, rows) for pk, _ in rows][:BATCH]
    if not ids:
        return 0
    with transaction.atomic(using=using):
        take_turn(using)
        rows = list(_locked(ids, using))
        sums = _add_up(rows, now)
        Statistic.objects.using(using).filter(pk__in=[row.pk for row in rows]).delete()
        Statistic.objects.using(using).bulk_create(list(as_rows(sums.items())))
    return len(rows) - len(sums)


def _candidates(now: datetime, using: str) -> Iterator[tuple[Any, ...]]:
    """The id and the key of each row that may have to be merged: the oldest of those that may be
    too narrow by now, and those that may have company."""
    rows = Statistic.objects.using(using)
    for width, since in ((FINE, KEPT[FINE]), (COARSE, KEPT[COARSE])):
        old = rows.filter(width=width, begin__lt=clock.as_field_value(now - since))
        yield from _keys(old)[:BATCH]
    for width, since in (
        (FINE, KEPT[FINE]),
        (COARSE, KEPT[FINE] + LATE),
        (LONG, KEPT[COARSE] + LATE),
    ):
        young = rows.filter(width=width, begin__gte=clock.as_field_value(now - since))
        yield from _keys(young)[:LOOKED_AT]


def _keys(rows: QuerySet[Statistic]) -> QuerySet[Statistic, tuple[Any, ...]]:
    columns = ("pk", "width", "begin", "scope", "label")
    return rows.order_by("width", "begin").values_list(*columns)


def _is_worth(key: Key, rows: list[tuple[int, int]]) -> bool:
    """Whether there would be fewer rows, or wider ones."""
    return len(rows) > 1 or rows[0][1] != key[0]


def _target(width: int, begin: datetime, scope: str, label: str, now: datetime) -> Key:
    """What the row is to be part of: the narrowest slot that is not too old for its width."""
    begin = clock.as_utc(begin)
    for wider in WIDTHS:
        found = slot(begin, wider)
        if wider >= width and found + timedelta(seconds=wider) > now - KEPT[wider]:
            return wider, found, scope, label
    return LONG, slot(begin, LONG), scope, label


def _locked(ids: list[int], using: str) -> QuerySet[Statistic]:
    """Those of the rows that nobody else is about to merge, by key: a search would lock more."""
    rows = Statistic.objects.using(using).filter(pk__in=ids)
    features = connections[using].features
    if features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True)
    return rows.select_for_update() if features.has_select_for_update else rows


def _add_up(rows: Iterable[Statistic], now: datetime) -> dict[Key, Sum]:
    columns = attrgetter(*COLUMNS)
    groups: dict[Key, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        groups[_target(row.width, row.begin, row.scope, row.label, now)].append(columns(row))
    return {key: Sum.of(group) for key, group in groups.items()}
