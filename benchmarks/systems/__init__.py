"""One module a system, run in the virtual environment that has its package.

Each has the functions of `Adapter`; those without a queue have `measure` instead.
"""

from __future__ import annotations

from typing import Protocol


class Adapter(Protocol):
    """What the driver needs of a queue. Jobs are calls of ``jobs.run(workload, argument)``."""

    def processes(self, workers: int) -> list[list[str]]:
        """The command lines, after Python's own name, that serve the queue with so many workers."""
        ...

    def enqueue(self, workload: str, argument: str) -> object:
        """Enqueue one job, as its documentation says to."""
        ...

    def enqueue_many(self, workload: str, argument: str, count: int) -> object:
        """Enqueue jobs in the fastest way that its documentation has."""
        ...

    def left(self) -> int:
        """How many jobs are not done with, as far as the queue itself knows."""
        ...


class Installable(Protocol):
    """A queue whose tables are not made by Django's migrations."""

    def install(self) -> object:
        """Make the tables."""
        ...


class Distant(Protocol):
    """A queue for which another process enqueues: the way there would be measured of each call."""

    def enqueue_each(self, workload: str, argument: str, count: int, inside: bool) -> object:
        """As so many calls of enqueue(), inside one transaction or each in one of its own."""
        ...


class Forking(Protocol):
    """A queue that can fork for each job."""

    def fork_for_each(self, workers: int) -> list[list[str]]:
        """As processes(), for workers that fork for each job."""
        ...


class Bare(Protocol):
    """Something without a queue."""

    def measure(self, workload: str, workers: int, seconds: float) -> dict[str, float]:
        """The ``rate`` in transactions a second of so many processes, over about so many seconds;
        and the CPU seconds of each, of ``workers`` and ``server``, if they can be told."""
        ...
