"""Statistics that no attempt has made, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django_async import clock
from django_async.histogram import bucket
from django_async.ledger import Sum, as_rows, slot
from django_async.models import Statistic
from django_async.slots import ALL, FINE


def attempted(
    executed: int = 0,
    failed: int = 0,
    *,
    ago: float = 0.0,
    scope: str = ALL,
    label: str = "",
    waited: float = 0.1,
    ran: float = 0.5,
    width: int = FINE,
) -> None:
    """A row about so many attempts that ended so many seconds ago, all equally long."""
    put([(executed, failed, ago, scope, label, waited, ran, width)])


def put(rows: Iterable[tuple[int, int, float, str, str, float, float, int]]) -> None:
    """Many such rows."""
    now = clock.utc_now("default")
    sums = []
    for executed, failed, ago, scope, label, waited, ran, width in rows:
        found = Sum()
        found.outcomes.update(executed=executed, failed=failed)
        found.seconds = ran * (executed + failed)
        found.waits[bucket(waited)] = found.runs[bucket(ran)] = executed + failed
        sums.append(((width, slot(now - timedelta(seconds=ago), width), scope, label), found))
    Statistic.objects.bulk_create(list(as_rows(sums)))
