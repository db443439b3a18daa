"""What tests share beyond fixtures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from django.db import DEFAULT_DB_ALIAS, connections
from hypothesis import HealthCheck, settings

from django_async import conf, fetch, worker
from django_async.engine import Engine
from django_async.forking import set_aside, take_up
from django_async.hints import Hint
from django_async.lane import Lane
from django_async.outcomes import Cancelled, Executed, Failed
from django_async.parents import Registration
from django_async.runner import run_job
from django_async.terms import Options, Summary
from django_async.walk import Walk
from forkpool import ForkPool, InlinePool, Pool, StopSignals

EFFORT = float(os.environ.get("EXAMPLES", "1"))
"""Multiplies the number of examples of every property: EXAMPLES=20 for a night."""


def examples(number: int, *, steps: int = 50) -> settings:
    """Settings of a property that works on the database: so many examples, however slow each."""
    return settings(
        max_examples=max(1, round(number * EFFORT)),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@dataclass
class Pass:
    """One pass over the queue, as its engine told it."""

    handed_out: list[Hint] = field(default_factory=list)
    outcomes: list[Executed | Failed | Cancelled] = field(default_factory=list)
    summary: Summary = field(default_factory=Summary)

    @property
    def ids(self) -> list[int]:
        """The jobs in the order of their hand-out."""
        return [hint.id for hint in self.handed_out]


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.kept = Pass()
        self._numbers = 0

    def handed_out(self, number: int, hint: Hint) -> None:
        self.kept.handed_out.append(hint)
        self._numbers += 1
        assert number == self._numbers

    def taken_back(self, number: int, hint: Hint) -> None:
        self.kept.handed_out.remove(hint)

    def ended(self, outcome: Executed | Failed | Cancelled) -> None:
        self.kept.outcomes.append(outcome)


def run_pass(
    *,
    workers: int = 0,
    limit: int | None = None,
    keep_going: bool = True,
    selection: fetch.Selection | None = None,
    using: str = "default",
    before: Callable[[], object] = lambda: None,
    others: Pool | None = None,
) -> Pass:
    """One pass as ``flush_queue`` makes it, with its hand-outs kept.

    ``before`` is called when the pass has read its bounds and not yet a job. ``others`` is a pool
    that takes the place of the usual one.
    """
    reads = fetch.Fetch(using, fetch.bounds(using), selection or fetch.Selection())
    recorder = Recorder()
    before()
    with StopSignals() as stop, others or _pool(workers) as pool:
        lane = Lane(
            using=using,
            walk=Walk(reads, conf.current().batch_size, time.monotonic),
            parent=Registration(using, workers or 1),
            pool=pool,
            clock=time.monotonic,
            one_writer=connections[using].vendor == "sqlite",
        )
        recorder.kept.summary = Engine(
            lanes=[lane],
            pool=pool,
            clock=time.monotonic,
            stop=stop,
            report=recorder,
            attempt=worker.attempt if workers else run_job,
            options=Options(limit, keep_going),
        ).run()
    return recorder.kept


def _pool(workers: int) -> InlinePool | ForkPool:
    if not workers:
        return InlinePool()
    return ForkPool(
        workers,
        initializer=worker.begin,
        before_fork=partial(set_aside, [DEFAULT_DB_ALIAS]),
        after_fork=take_up,
    )
