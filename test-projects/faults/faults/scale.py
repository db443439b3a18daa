"""How much is tried, and how strictly time is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Figures = dict[str, float | int | str]
"""What a scenario measured, by its name with its unit."""

FULL = 60
"""Minutes for which the full counts are meant."""


class Violation(Exception):
    """Something that is promised does not hold."""


class NotHere(Exception):
    """The scenario cannot be run on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The short form, or a long one of so many minutes.

    Attributes:
        missed: the goals that were not reached, a sentence each: the scenario goes on, and its
            figures are shown, but it has failed.
    """

    minutes: float = 0.0
    missed: list[str] = field(default_factory=list)

    @property
    def strict(self) -> bool:
        """Whether a goal is a limit: not in the short form, which runs on busy machines."""
        return self.minutes > 0

    def count(self, short: int, full: int) -> int:
        """How many: from the short form's number towards that of the full one."""
        return round(short + (full - short) * self.minutes / FULL)

    def judge(self, what: str, value: float, *, goal: float, bound: float) -> None:
        """A measured time must be below its goal; in the short form, below a generous bound."""
        limit = goal if self.strict else bound
        if value > limit:
            self.missed.append(f"{what} is {value:.1f}; the limit is {limit:g}, the goal {goal:g}")

    def judge_ratio(self, what: str, value: float, *, goal: float) -> None:
        """A measured ratio must reach its goal; the short form only reports it."""
        if self.strict and value < goal:
            self.missed.append(f"{what} is {value:.2f}; the goal is {goal:g}")


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    if not values:
        raise Violation("nothing was measured")
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def spread(what: str, seconds: Sequence[float]) -> Figures:
    """Median, 99th percentile and maximum, in milliseconds."""
    ends = {"p50": percentile(seconds, 50), "p99": percentile(seconds, 99), "max": max(seconds)}
    return {f"{what} {end} ms": round(value * 1000, 1) for end, value in ends.items()}
