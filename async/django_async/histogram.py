"""How long things took, as numbers that can be added up: a histogram of log-scaled buckets.

A mean says little of times, and percentiles of several processes cannot be made from theirs. These
buckets can be added, whoever filled them, and a percentile read from the sum: each is a fifth wider
than the one below, so that what is read is within a tenth of what was. Few of them are in use at a
time, so only those are kept.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections import Counter

SHORTEST = 0.001
"""Seconds: what is shorter counts as this."""

STEPS = 4
"""Buckets from one time to the double of it."""

LONGEST = 3e8
"""Seconds: what is longer, as ten years are, counts as this."""

_BEGINS = [
    SHORTEST * 2.0 ** (step / STEPS)
    for step in range(1 + math.floor(STEPS * math.log2(LONGEST / SHORTEST)))
]
"""Where each bucket begins but the first, of what is shorter: two are looked up for each job."""

Buckets = Counter[int]
"""How many there were, by the number of the bucket."""


def bucket(seconds: float) -> int:
    """The number of the bucket for that time."""
    return bisect_left(_BEGINS, seconds)


def middle(number: int) -> float:
    """Seconds that stand for all in that bucket: its middle, as factors go."""
    return SHORTEST if number <= 0 else SHORTEST * 2.0 ** ((number - 0.5) / STEPS)


def percentile(buckets: Buckets, percent: float) -> float | None:
    """Seconds that so many percent did not exceed; None of nothing."""
    wanted = buckets.total() * percent / 100
    seen = 0
    for number in sorted(buckets):
        seen += buckets[number]
        if seen >= wanted:
            return middle(number)
    return None


def dump(buckets: Buckets) -> str:
    """As a column holds it."""
    return json.dumps(dict(sorted(buckets.items())), separators=(",", ":"))


def load(*texts: str) -> Buckets:
    """From columns, added up; without what is unreadable. Many at once are read as one text."""
    try:
        return _add_up(json.loads(f"[{','.join(texts)}]"))
    except (ValueError, TypeError, AttributeError):
        if len(texts) == 1:
            return Buckets()
        return sum(map(load, texts), Buckets())


def _add_up(histograms: list[dict[str, int]]) -> Buckets:
    found: dict[str, int] = {}
    for one in histograms:
        for number, count in one.items():
            found[number] = found.get(number, 0) + count
    return Buckets({int(number): int(count) for number, count in found.items()})
