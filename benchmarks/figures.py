"""Medians with their spread, and ratios of one round: what the report is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

Round = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the lowest and the highest of the rounds."""

    middle: float
    low: float
    high: float

    def show(self, form: str = ",.0f") -> str:
        """As in the tables."""
        if math.isnan(self.middle):
            return "-"
        return f"{self.middle:{form}} ({self.low:{form}} to {self.high:{form}})"


NOTHING = Spread(math.nan, math.nan, math.nan)


def spread(values: Iterable[float]) -> Spread:
    """Of no values at all, nothing."""
    ordered = sorted(values)
    return Spread(median(ordered), ordered[0], ordered[-1]) if ordered else NOTHING


def each(rounds: Sequence[Round], system: str, *path: str) -> list[float]:
    """A figure of a system in each round that has it."""
    found = (_dig(one, (system, *path)) for one in rounds)
    return [value for value in found if value is not None]


def ratio(rounds: Sequence[Round], system: str, to: str, *path: str) -> Spread:
    """A system's figure by another's of the same round."""
    pairs = ((_dig(one, (system, *path)), _dig(one, (to, *path))) for one in rounds)
    return spread(mine / its for mine, its in pairs if mine is not None and its)


def systems(rounds: Sequence[Round], value: Callable[[str], float]) -> list[str]:
    """Who took part, the one with the greatest value first."""
    names = {name for one in rounds for name in one}
    return sorted(names, key=lambda name: (-value(name) if value(name) == value(name) else 1, name))


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th of a hundred."""
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _dig(data: Any, path: Iterable[str]) -> float | None:
    for key in path:
        if not isinstance(data, Mapping) or data.get(key) is None:
            return None
        data = data[key]
    return float(data)
