"""What a parent has counted, in memory that it shares with the process that tells it to others.

Numbers of eight bytes each. The parent alone writes them, one at a time, and a reader gets each as
it was a moment ago: there is no lock, so that a reader that sleeps keeps nobody waiting.

::

    workers, busy, queues in use | for each queue: outcomes, waits, runs | the queues' names
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OUTCOMES = ("executed", "failed", "discarded", "cancelled")

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
"""Seconds: the upper bounds of the histograms' buckets. One more is for what lies above."""

MOST_QUEUES = 100
"""Queues that are told apart, those that come first. The others share one more place."""

OTHERS = "(others)"

_TALLY = len(BOUNDS) + 2
"""Of a histogram: its buckets and its sum."""

_QUEUE = len(OUTCOMES) + 2 * _TALLY
_WAITS, _RUNS = len(OUTCOMES), len(OUTCOMES) + _TALLY
_WORKERS, _BUSY, _IN_USE, _FIRST = range(4)
_NAMES = (_FIRST + (MOST_QUEUES + 1) * _QUEUE) * 8
_NAME = 408
"""Bytes: a hundred characters, and their length before them."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many were in each bucket, and the sum of all."""

    buckets: list[int]
    sum: float


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """What was counted of one queue."""

    name: str
    outcomes: dict[str, int]
    waits: Tally
    runs: Tally


class Figures:
    """The numbers. Made before the fork, they are the same in both processes."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NAMES + (MOST_QUEUES + 1) * _NAME)
        self._view = memoryview(self._memory)
        self._numbers = self._view[:_NAMES].cast("d")
        self._places: dict[str, int] = {}

    def add(self, queue: str, outcome: str, waited: float | None, seconds: float) -> None:
        """Count an attempt."""
        at = self._places.get(queue)
        at = self._make_place(queue) if at is None else at
        self._numbers[at + OUTCOMES.index(outcome)] += 1
        if waited is not None:
            self._tally(at + _WAITS, waited)
        self._tally(at + _RUNS, seconds)

    def set_busy(self, busy: int, total: int) -> None:
        """How many workers there are, and how many of them have a job."""
        self._numbers[_WORKERS], self._numbers[_BUSY] = total, busy

    @property
    def workers(self) -> int:
        return int(self._numbers[_WORKERS])

    @property
    def busy(self) -> int:
        return int(self._numbers[_BUSY])

    def read(self) -> Iterator[QueueFigures]:
        """What was counted so far, queue by queue."""
        for place in range(int(self._numbers[_IN_USE])):
            at = _FIRST + place * _QUEUE
            numbers = self._numbers[at : at + _QUEUE].tolist()
            outcomes = dict(zip(OUTCOMES, map(int, numbers), strict=False))
            waits, runs = numbers[_WAITS:_RUNS], numbers[_RUNS:]
            yield QueueFigures(self._read_name(place), outcomes, _as_tally(waits), _as_tally(runs))

    def close(self) -> None:
        """Give the memory back; a process that shares it keeps its own hold on it."""
        self._numbers.release()
        self._view.release()
        self._memory.close()

    def _make_place(self, queue: str) -> int:
        place = int(self._numbers[_IN_USE])
        if place > MOST_QUEUES:  # the last place is everybody's
            place = MOST_QUEUES
        else:
            self._write_name(place, queue if place < MOST_QUEUES else OTHERS)
            self._numbers[_IN_USE] = place + 1  # last: a reader finds it complete
        at = _FIRST + place * _QUEUE
        if place < MOST_QUEUES:
            self._places[queue] = at
        return at

    def _tally(self, at: int, seconds: float) -> None:
        self._numbers[at + bisect_left(BOUNDS, seconds)] += 1
        self._numbers[at + _TALLY - 1] += seconds

    def _write_name(self, place: int, name: str) -> None:
        text = name.encode()[: _NAME - 8]
        at = _NAMES + place * _NAME
        self._view[at : at + 8] = len(text).to_bytes(8, "little")
        self._view[at + 8 : at + 8 + len(text)] = text

    def _read_name(self, place: int) -> str:
        at = _NAMES + place * _NAME
        length = int.from_bytes(self._view[at : at + 8], "little")
        return bytes(self._view[at + 8 : at + 8 + length]).decode(errors="replace")


def _as_tally(numbers: Sequence[float]) -> Tally:
    return Tally([int(number) for number in numbers[:-1]], numbers[-1])
