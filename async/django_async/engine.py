"""One pass over the queue: hand out hints in order, and act on how each attempt ended.

The engine knows neither processes nor SQL. The pool says whether and how a call ended; the engine
says what that means for the pass; the store, what it means for the row.

::

    Walk ──hint──▶ Engine ──submit──▶ Pool ──▶ runner.run_job ──▶ the database
      ▲               │ ▲                            │
      └─lost, failed──┘ └────────── Outcome ─────────┘
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from django_async import store
from django_async.errors import AttemptFailed, QueueStopped, StopNow
from django_async.hints import Hint
from django_async.outcomes import (
    Busy,
    Executed,
    Failed,
    Failure,
    Lost,
    Outcome,
    Undecided,
)
from django_async.payload import printable
from django_async.runner import run_job
from django_async.store import Settlement
from django_async.walk import Walk
from forkpool import Ended, Pool, PoolBusy, TaskRaised, WorkerDied

logger = logging.getLogger(__name__)

SETTLE_AGAIN = 0.02
"""Seconds between two looks at an attempt that is undecided: a killed worker's row is free again
some 5 ms after its end."""

SETTLE_PATIENCE = 2.0
"""Seconds that a stopping engine gives to what is undecided; then it is left to the next pass, to
which the job looks as it did before the attempt."""


class Reporter(Protocol):
    """Shows an operator what goes on."""

    def handed_out(self, number: int, hint: Hint) -> None:
        """The job got this place in the sequence of hand-outs."""

    def ended(self, outcome: Executed | Failed) -> None:
        """An attempt ended."""


class Stop(Protocol):
    """Whether an operator asked to stop, and how often."""

    @property
    def count(self) -> int: ...

    def drain(self) -> None: ...


@dataclass(slots=True)
class Summary:
    """What a pass did."""

    executed: int = 0
    failed: int = 0
    skipped: int = 0
    first_failure: Failed | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a pass is run."""

    limit: int | None = None
    """How many jobs are attempted at the most."""
    keep_going: bool = False
    """Whether a failure leaves the pass running."""
    at_once: int | None = None
    """How many jobs may run at the same time; None is as many as there are workers."""


@dataclass(slots=True)
class Engine:
    """Runs one pass. It gets everything it needs, and owns nothing of it."""

    walk: Walk
    pool: Pool
    using: str
    clock: Callable[[], float]
    stop: Stop
    report: Reporter
    options: Options = field(default_factory=Options)
    summary: Summary = field(default_factory=Summary)
    _held: dict[int, Hint] = field(default_factory=dict)
    _undecided: dict[int, Undecided] = field(default_factory=dict)
    _look: float = 0.0
    _halted_at: float | None = None
    _broken: QueueStopped | None = None

    def run(self) -> Summary:
        """The whole pass: until nothing is left, a failure ends it, or the operator does."""
        began = self.clock()
        while not self._is_over():
            self._hand_out()
            for ended in self.pool.wait(self._pause()):
                self._act(ended)
            self._settle_undecided()
            self._heed_operator()
        self.summary.skipped += self.walk.skipped
        self.summary.seconds = self.clock() - began
        for outcome in self._undecided.values():
            logger.warning(
                "Job %s failed and its row is still locked: no error is kept: %s",
                outcome.hint.id,
                printable(outcome.failure.exception),
            )
        if self._broken:
            raise self._broken
        return self.summary

    def _is_over(self) -> bool:
        if self._held:
            return False
        if self._undecided:
            return self._halted_at is not None and self.clock() > self._halted_at + SETTLE_PATIENCE
        return self._is_halted or self._limit_reached or self.walk.finished

    def _hand_out(self) -> None:
        """Give the next hints to the workers that are idle, in order."""
        while self._may_hand_out():
            hint = self.walk.take()
            if hint is None:
                return
            try:
                task = self.pool.submit(run_job, hint, self.using)
            except PoolBusy:  # the worker that seemed idle has just died
                self.walk.put_back(hint)
                return
            self._held[task.number] = hint
            self.report.handed_out(task.number, hint)

    def _may_hand_out(self) -> bool:
        if self._is_halted or self._limit_reached or not self.pool.idle:
            return False
        return self.options.at_once is None or len(self._held) < self.options.at_once

    @property
    def _is_halted(self) -> bool:
        return self._halted_at is not None

    @property
    def _limit_reached(self) -> bool:
        attempted = self.summary.executed + self.summary.failed
        open_ends = len(self._held) + len(self._undecided)
        return self.options.limit is not None and attempted + open_ends >= self.options.limit

    def _pause(self) -> float | None:
        """How long there is nothing to do but to wait for the workers."""
        if self._undecided:
            return SETTLE_AGAIN
        if self._may_hand_out():
            return 0.0 if not self._held and self.walk.pause is None else self.walk.pause
        return None

    def _act(self, ended: Ended) -> None:
        hint = self._held.pop(ended.task.number)
        if isinstance(ended.error, WorkerDied):
            self._bury(hint, ended.error)
        elif ended.error is not None:
            self._break(hint, ended.error)
        else:
            self._act_on(ended.value)

    def _act_on(self, outcome: Outcome) -> None:
        match outcome:
            case Executed(hint):
                self.summary.executed += 1
                self.walk.ended(hint)
                self.report.ended(outcome)
            case Failed():
                self._note_failure(outcome)
            case Lost(hint, taken):
                self.walk.lost(hint, taken=taken)
            case Busy(hint):
                self.walk.put_back(hint)
            case Undecided(hint):
                self._undecided[hint.id] = outcome

    def _note_failure(self, outcome: Failed) -> None:
        self.summary.failed += 1
        self.summary.first_failure = self.summary.first_failure or outcome
        if outcome.discarded:
            self.walk.ended(outcome.hint)
        else:
            self.walk.failed(outcome.hint)
        self.report.ended(outcome)
        if not self.options.keep_going:
            self._halt()

    def _bury(self, hint: Hint, death: WorkerDied) -> None:
        label = store.label(hint, self.using)
        self._undecided[hint.id] = Undecided(hint, label, 0.0, Failure.of_death(str(death)))
        self._look = 0.0

    def _break(self, hint: Hint, error: Exception) -> None:
        """The attempt could not be made: the queue's failure, not the job's. What runs may end."""
        if isinstance(error, TaskRaised) and isinstance(error.original, StopNow):
            self._note_stopped(hint)
            raise error.original
        trace = error.traceback if isinstance(error, TaskRaised) else ""
        self._broken = QueueStopped(f"The queue cannot go on: {error}\n{trace}".rstrip())
        self._halt()

    def _settle_undecided(self) -> None:
        """Record what failed without anybody to say so, once its lock can be had."""
        if not self._undecided or self.clock() < self._look:
            return
        for outcome in list(self._undecided.values()):
            self._settle(outcome)
        self._look = self.clock() + SETTLE_AGAIN

    def _settle(self, outcome: Undecided) -> None:
        settlement = store.settle(outcome.hint, outcome.failure, self.using)
        if settlement is Settlement.UNDECIDED:
            return
        del self._undecided[outcome.hint.id]
        if settlement is Settlement.ELSEWHERE:
            self._note_survivor(outcome)
            return
        self._log_failure(outcome)
        given_up = settlement is Settlement.DISCARDED
        self._note_failure(
            Failed(outcome.hint, outcome.label, outcome.seconds, outcome.failure, given_up)
        )

    def _note_survivor(self, outcome: Undecided) -> None:
        """The attempt's end was lost, and not the attempt: a commit hook killed the worker, say."""
        logger.warning(
            "Job %s was executed, or recorded by somebody else, before this: %s",
            outcome.hint.id,
            printable(outcome.failure.exception),
        )
        self.walk.ended(outcome.hint)

    def _log_failure(self, outcome: Undecided) -> None:
        logger.error(
            "Job %s failed: %s: %s",
            outcome.hint.id,
            outcome.label,
            printable(outcome.failure.exception),
            exc_info=AttemptFailed(outcome.failure.exception),
            extra={"job_id": outcome.hint.id, "job_name": outcome.label.partition("(")[0]},
        )

    def _heed_operator(self) -> None:
        self.stop.drain()
        if self.stop.count:
            self._halt()
        if self.stop.count > 1:
            self._stop_at_once()

    def _halt(self) -> None:
        """Hand out nothing more; what runs may end."""
        if self._halted_at is None:
            self._halted_at = self.clock()

    def _stop_at_once(self) -> None:
        """End the workers: their transactions roll back, and their jobs stay as they were."""
        self._halted_at = self.clock()
        for ended in self.pool.kill():
            hint = self._held.pop(ended.task.number)
            if ended.error is None:
                self._act_on(ended.value)
            else:
                self._note_stopped(hint)
        raise StopNow

    def _note_stopped(self, hint: Hint) -> None:
        """Leave the trace of a job that was cut short, as soon as its lock is free."""
        failure = Failure(
            "Stopped('the operator stopped the workers')", "The attempt was rolled back.\n"
        )
        deadline = self.clock() + SETTLE_PATIENCE
        while self.clock() < deadline:
            if store.note_stop(hint, failure, self.using) is not Settlement.UNDECIDED:
                return
        logger.warning("Job %s was stopped; its row is still locked, so no error is kept.", hint.id)
