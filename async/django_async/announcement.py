"""A service says that it has begun: what it serves, by whom, and how it learns of new jobs.

One line for the operator, and one record of the logger ``django_async.service`` with the same in
``extra``: ``version``, ``workers``, ``queues`` (None for all) and ``databases``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import django_async
from django_async import conf
from django_async.engine import Engine
from django_async.lane import Lane
from django_async.upkeep import FOR_EVER

logger = logging.getLogger("django_async.service")

AWAY = "away for now"
HEARS = "hears notifications"


@dataclass(frozen=True, slots=True)
class Beginning:
    """What there is to say."""

    version: str
    workers: int
    """Processes; 0 if the parent runs the jobs itself."""
    queues: Sequence[str] | None
    """The names of those that are served; None for all."""
    databases: Mapping[str, str]
    """By alias: whether it hears of new jobs there, polls for them, or does not reach it yet."""

    def __str__(self) -> str:
        queues = "all" if self.queues is None else ", ".join(map(ascii, self.queues))
        databases = "; ".join(f"{alias} {how}" for alias, how in self.databases.items())
        return (
            f"django-async {self.version} serves: {databases}; queues: {queues};"
            f" workers: {self.workers or 'none, jobs run in this process'}."
        )


class Announcer:
    """Says so once, when the workers are up and a queue was reached: of several databases, one."""

    INTERVAL = 0.05
    """Seconds between two looks at whether that is so."""

    def __init__(
        self, say: Callable[[str], object], workers: int, queues: Sequence[str] = ()
    ) -> None:
        self._say = say
        self._workers = workers
        self._queues = list(queues) or None

    def see_to(self, engine: Engine) -> float:
        if engine.is_halted:
            return FOR_EVER
        if not engine.is_ready:
            return self.INTERVAL
        databases = {lane.using: _how(lane) for lane in engine.lanes}
        beginning = Beginning(django_async.__version__, self._workers, self._queues, databases)
        self._say(str(beginning))
        logger.info("%s", beginning, extra=asdict(beginning))
        return FOR_EVER


def _how(lane: Lane) -> str:
    if not lane.is_reached:
        return AWAY
    if lane.ear and lane.ear.can_hear:
        return HEARS
    if lane.changes:
        return f"looks for changes every {lane.step:g} s"
    settings = conf.current()
    return f"polls every {settings.poll_min:g} to {settings.poll_max:g} s"
