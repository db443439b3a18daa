"""Keeping the statistics small: rows about the same are merged, and old ones go.

The last hours stay in slots of five minutes, what is older in slots of an hour, and what is older
than eight days goes. Any rows about the same may be merged, by anybody at any time: whoever comes
second leaves alone what somebody else has locked, and adds it up with the rest the next time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.db.models import QuerySet

from django_async import clock
from django_async.ledger import Sum, as_rows, slot
from django_async.slots import COARSE, FINE, Statistic
from django_async.turn import take_turn

FINE_FOR = timedelta(hours=2)
"""How long slots stay as short as they were written."""

KEPT_FOR = timedelta(days=8)
"""How long anything stays: a week, and what is needed to show a whole one."""

MERGED_LATE = timedelta(hours=3)
"""How much older than that hours may be, and still get company."""

BATCH = 5000
"""Rows that are read, and at the most merged or deleted, at a time."""

Key = tuple[int, datetime, str, str]
"""Width, begin, scope and label."""


def roll_up(using: str) -> int:
    """Merge and delete one batch; by how many rows there are fewer now, 0 if nothing is to do."""
    now = clock.utc_now(using)
    return _delete_old(now, using) + _merge(now, using)


def _delete_old(now: datetime, using: str) -> int:
    rows = Statistic.objects.using(using)
    old = rows.filter(width__in=(FINE, COARSE), begin__lt=clock.as_field_value(now - KEPT_FOR))
    ids = list(old.order_by("width", "begin").values_list("pk", flat=True)[:BATCH])
    return rows.filter(pk__in=ids).delete()[0] if ids else 0


def _merge(now: datetime, using: str) -> int:
    groups = _candidates(now, using)
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


def _candidates(now: datetime, using: str) -> dict[Key, list[tuple[int, int]]]:
    """The ids and widths of the rows that belong together, by what they would be merged to."""
    rows = Statistic.objects.using(using)
    late = clock.as_field_value(now - FINE_FOR - MERGED_LATE)
    groups: dict[Key, list[tuple[int, int]]] = defaultdict(list)
    for some in (rows.filter(width=FINE), rows.filter(width=COARSE, begin__gte=late)):
        found = some.order_by("width", "begin").values_list(
            "pk", "width", "begin", "scope", "label"
        )
        for pk, width, begin, scope, label in found[:BATCH]:
            groups[_target(width, begin, scope, label, now)].append((pk, width))
    return groups


def _is_worth(key: Key, rows: list[tuple[int, int]]) -> bool:
    """Whether there would be fewer rows, or wider ones."""
    return len(rows) > 1 or rows[0][1] != key[0]


def _target(width: int, begin: datetime, scope: str, label: str, now: datetime) -> Key:
    begin = clock.as_utc(begin)
    hour = slot(begin, COARSE)
    if width == FINE and hour + timedelta(seconds=COARSE) > now - FINE_FOR:
        return FINE, slot(begin, FINE), scope, label
    return COARSE, hour, scope, label


def _locked(ids: list[int], using: str) -> QuerySet[Statistic]:
    """Those of the rows that nobody else is about to merge, by key: a search would lock more."""
    rows = Statistic.objects.using(using).filter(pk__in=ids)
    features = connections[using].features
    if features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True)
    return rows.select_for_update() if features.has_select_for_update else rows


def _add_up(rows: Iterable[Statistic], now: datetime) -> dict[Key, Sum]:
    sums: dict[Key, Sum] = defaultdict(Sum)
    for row in rows:
        sums[_target(row.width, row.begin, row.scope, row.label, now)].add(row)
    return sums
