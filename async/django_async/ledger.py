"""What a parent has counted of a database's attempts since it last saved that.

It counts in memory, in the moment in which it learns how an attempt ended, and adds rows every few
seconds, over its own connection and outside of every job's transaction. So counting costs a job
nothing, and a parent that is killed takes what it has not saved yet with it: the last ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django_async import clock, histogram
from django_async.histogram import Buckets
from django_async.outcomes import End, word
from django_async.slots import ALL, FINE, FUNCTION, OUTCOMES, QUEUE, Statistic
from django_async.turn import impatient

INTERVAL = 10.0
"""Seconds between two savings."""

PATIENCE = 0.05
"""Seconds that it waits for SQLite's writer, since the parent has something better to do."""

MOST_LABELS = 200
"""Queues and functions that are told apart between two savings, those that come first."""

MOST_PAIRS = 1000
"""Pairs of a queue and a function that are told apart, likewise."""

OTHERS = "(others)"

COLUMNS = (*OUTCOMES, "seconds", "waits", "runs")
"""What there is to be added up in a row."""

Key = tuple[str, str]
"""A scope and a label."""


@dataclass(slots=True)
class Sum:
    """Attempts, added up."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    seconds: float = 0.0
    waits: Buckets = field(default_factory=Buckets)
    runs: Buckets = field(default_factory=Buckets)

    @property
    def attempts(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values())

    @property
    def mean(self) -> float | None:
        """Seconds that an attempt took; None without any."""
        return self.seconds / self.attempts if self.attempts else None

    def count(self, outcome: str, wait: int | None, run: int, seconds: float) -> None:
        """Add one attempt, with the buckets of its times."""
        self.outcomes[outcome] += 1
        self.seconds += seconds
        self.runs[run] += 1
        if wait is not None:
            self.waits[wait] += 1

    def merge(self, other: Sum) -> None:
        """Add what another one has."""
        for outcome, number in other.outcomes.items():
            self.outcomes[outcome] += number
        self.seconds += other.seconds
        self.waits.update(other.waits)
        self.runs.update(other.runs)

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> Sum:
        """What rows have together in COLUMNS."""
        if not rows:
            return cls()
        *numbers, seconds, waits, runs = zip(*rows, strict=True)
        return cls(
            outcomes=dict(zip(OUTCOMES, map(sum, numbers), strict=True)),
            seconds=sum(seconds),
            waits=histogram.load(*waits),
            runs=histogram.load(*runs),
        )

    def columns(self) -> dict[str, Any]:
        """As a row has it."""
        waits, runs = histogram.dump(self.waits), histogram.dump(self.runs)
        return {**self.outcomes, "seconds": self.seconds, "waits": waits, "runs": runs}


class Ledger:
    """The sums of one database, by one parent.

    Attributes:
        has_saved: whether there are rows of it.
    """

    def __init__(self, using: str, now: Callable[[], float]) -> None:
        self._using = using
        self._now = now
        self._sums: dict[tuple[str, str], Sum] = {}
        """By queue and function: an attempt is counted in one place, which takes the parent less
        time than in three."""
        self._next = now() + INTERVAL
        self.has_saved = False

    def count(self, end: End) -> None:
        """Count an attempt that ended."""
        key = end.queue or OTHERS, end.name or OTHERS
        found = self._sums.get(key) or self._new_sum(key)
        wait = None if end.waited is None else histogram.bucket(end.waited)
        found.count(word(end), wait, histogram.bucket(end.seconds), end.seconds)

    @property
    def is_due(self) -> bool:
        """Whether it is time to save, and there is something to be saved."""
        return bool(self._sums) and self._now() >= self._next

    def save(self, patience: float = PATIENCE) -> None:
        """Add rows for what was counted since the last time, in one statement.

        Raises as the driver does, also if SQLite's writer is somebody else for longer than that:
        then it is all saved the next time.
        """
        self._next = self._now() + INTERVAL
        if self._sums:
            with impatient(self._using, patience):
                self._insert()

    def _new_sum(self, key: tuple[str, str]) -> Sum:
        if len(self._sums) >= MOST_PAIRS:
            key = OTHERS, OTHERS
        return self._sums.setdefault(key, Sum())

    def _insert(self) -> None:
        begin = slot(clock.utc_now(self._using), FINE)
        sums = self._by_scope().items()
        rows = list(as_rows(((FINE, begin, *key), found) for key, found in sums))
        Statistic.objects.using(self._using).bulk_create(rows)
        self._sums = {}
        self.has_saved = True

    def _by_scope(self) -> dict[Key, Sum]:
        """What was counted of all, of each queue and of each function."""
        found: dict[Key, Sum] = {}
        for (queue, function), counted in self._sums.items():
            for scope, label in ((ALL, ""), (QUEUE, queue), (FUNCTION, function)):
                is_known = (scope, label) in found or len(found) < MOST_LABELS
                key = scope, label if is_known else OTHERS
                found.setdefault(key, Sum()).merge(counted)
        return found


def slot(moment: datetime, width: int) -> datetime:
    """The begin of the slot that an aware moment lies in, aware as well."""
    return datetime.fromtimestamp(moment.timestamp() // width * width, UTC)


def as_rows(sums: Iterable[tuple[tuple[int, datetime, str, str], Sum]]) -> Iterator[Statistic]:
    """The rows, not saved, of sums with their width, begin, scope and label."""
    for (width, begin, scope, label), found in sums:
        yield Statistic(
            width=width,
            begin=clock.as_field_value(begin),
            scope=scope,
            label=label[:255],
            **found.columns(),
        )
