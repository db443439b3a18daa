"""One pass over the queue: hand out hints in order, and act on how each attempt ended.

The engine knows neither processes nor SQL. The pool says whether and how a call ended; the engine
says what that means for the pass; the store, what it means for the row. What the engine needs the
database for can wait while that is away.

::

    Walk ──hint──▶ Engine ──submit──▶ Pool ──▶ runner.run_job ──▶ the database
      ▲               │ ▲                            │
      └─lost, failed──┘ └────────── Outcome ─────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from django_async import conf, policy, sessions
from django_async.access import Access
from django_async.errors import QueueStopped, StopNow
from django_async.hints import Hint
from django_async.inquest import AGAIN, PATIENCE, Inquest
from django_async.metrics import Metrics, NoMetrics
from django_async.outcomes import (
    Away,
    Busy,
    Cancelled,
    Executed,
    Failed,
    Lost,
    Outcome,
    Undecided,
)
from django_async.parents import Registration
from django_async.runner import run_job
from django_async.walk import Walk
from forkpool import Ended, Pool, PoolBusy, TaskRaised, WorkerDied

Attempt = Callable[[Hint, str, str], Outcome]
"""Attempts a job, given the hint, the alias of its database and the token of the parent."""


class Reporter(Protocol):
    """Shows an operator what goes on."""

    def handed_out(self, number: int, hint: Hint) -> None:
        """The job got this place in the sequence of hand-outs."""

    def ended(self, outcome: Executed | Failed | Cancelled) -> None:
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
    cancelled: int = 0
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
    parent: Registration
    using: str
    clock: Callable[[], float]
    stop: Stop
    report: Reporter
    attempt: Attempt = run_job
    options: Options = field(default_factory=Options)
    metrics: Metrics = field(default_factory=NoMetrics)
    summary: Summary = field(default_factory=Summary)
    _held: dict[int, Hint] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)
    _suspect: int | None = None
    """The number of the task that is a suspect: beside it no other suspect runs."""
    _waits_for_suspect: bool = False
    _halted: bool = False
    _halted_at: float = 0.0
    _broken: QueueStopped | None = None
    access: Access = field(init=False)
    inquest: Inquest = field(init=False)

    def __post_init__(self) -> None:
        self.inquest = Inquest(self.using, self.clock)
        self.access = Access(self.using, self.clock)

    def run(self) -> Summary:
        """The whole pass: until nothing is left, a failure ends it, or the operator does."""
        began = self.clock()
        self.access.use(self._register)
        while not self._is_over():
            self._hand_out()
            self._tell_busy(len(self._held))
            self.metrics.tick()
            if self.parent.is_hidden:
                self.access.use(self.parent.show_life)
            for ended in self.pool.wait(self._pause()):
                self._act(ended)
            if self.inquest:
                self.access.use(self._hold_inquest)
            self._heed_operator()
        self._tell_busy(0)
        self.inquest.abandon()
        self.access.use(self.parent.withdraw)
        self.summary.skipped += self.walk.skipped
        self.summary.seconds = self.clock() - began
        if self._broken:
            raise self._broken
        return self.summary

    def _register(self) -> None:
        self.parent.register()
        self.walk.share = self.parent.share

    def _is_over(self) -> bool:
        if self._held:
            return False
        if self.inquest:
            return self._halted and self.clock() > self._halted_at + PATIENCE
        return self._halted or self._limit_reached or self.walk.finished

    def _hand_out(self) -> None:
        """Give the next hints to the workers that are idle, in order."""
        while self._may_hand_out() and (hint := self.access.use(self._next)):
            if not self._submit(hint):
                self.walk.put_back(hint)
                return

    def _next(self) -> Hint | None:
        """The next hint, written down as about to run, if it may run beside what runs already."""
        hint = self.walk.take()
        if hint is None:
            return None
        may_run = False
        try:
            may_run = self._may_run(hint)
        finally:
            if not may_run:
                self.walk.put_back(hint)
        return hint if may_run else None

    def _may_hand_out(self) -> bool:
        if self._halted or self._limit_reached or self._waits_for_suspect or not self.pool.idle:
            return False
        return self.options.at_once is None or len(self._held) < self.options.at_once

    @property
    def _limit_reached(self) -> bool:
        attempted = self.summary.executed + self.summary.failed + self.summary.cancelled
        open_ends = len(self._held) + len(self.inquest)
        return self.options.limit is not None and attempted + open_ends >= self.options.limit

    def _may_run(self, hint: Hint) -> bool:
        if hint.suspected and self._suspect is not None:
            self._waits_for_suspect = True
            return False
        if not self.parent.covers(hint):
            self.parent.look_around()
            self.walk.share = self.parent.share
            self.parent.stamp([*self._held.values(), hint, *self.walk.queued()])
        return True

    def _submit(self, hint: Hint) -> bool:
        timeout = policy.timeout(hint.meta)
        limit = None if timeout is None else timeout + conf.current().timeout_grace
        self._tell_busy(len(self._held) + 1)  # before a job runs in this process
        try:
            task = self.pool.submit(
                self.attempt, hint, self.using, self.parent.token, time_limit=limit
            )
        except PoolBusy:  # the worker that seemed idle has just died
            return False
        self._held[task.number], self._since[task.number] = hint, self.clock()
        if hint.suspected:
            self._suspect = task.number
        self.report.handed_out(task.number, hint)
        return True

    def _tell_busy(self, busy: int) -> None:
        self.metrics.set_busy(busy, self.parent.workers)

    def _pause(self) -> float | None:
        """How long there is nothing to do but to wait for the workers."""
        if self.access.outage.is_on:
            return self.access.outage.pause
        if self.inquest:
            return AGAIN
        if self._may_hand_out():
            return 0.0 if not self._held and self.walk.pause is None else self.walk.pause
        return None

    def _act(self, ended: Ended) -> None:
        seconds = self.clock() - self._since[ended.task.number]
        hint = self._release(ended)
        if isinstance(ended.error, WorkerDied):
            self.inquest.add_death(hint, ended.error, seconds)
        elif ended.error is not None:
            self._break(hint, ended.error)
        else:
            self._act_on(ended.value)

    def _release(self, ended: Ended) -> Hint:
        """The hint of a task that has ended."""
        if ended.task.number == self._suspect:
            self._suspect, self._waits_for_suspect = None, False
        del self._since[ended.task.number]
        return self._held.pop(ended.task.number)

    def _act_on(self, outcome: Outcome) -> None:
        match outcome:
            case Executed(hint):
                self.summary.executed += 1
                self.walk.ended(hint)
                self.report.ended(outcome)
                self.metrics.ended(outcome)
            case Failed():
                self._note_failure(outcome)
            case Cancelled(hint):
                self.summary.cancelled += 1
                self.walk.ended(hint)
                self.report.ended(outcome)
                self.metrics.ended(outcome)
            case Lost(hint, taken):
                self.walk.lost(hint, taken=taken)
            case Busy(hint):
                self.walk.put_back(hint)
            case Away(hint, error):
                self.walk.put_back(hint)
                self.access.outage.note(error)
            case Undecided():
                self.inquest.add(outcome)

    def _note_failure(self, outcome: Failed) -> None:
        self.summary.failed += 1
        self.summary.first_failure = self.summary.first_failure or outcome
        if outcome.discarded:
            self.walk.ended(outcome.hint)
        else:
            self.walk.failed(outcome.hint)
        self.report.ended(outcome)
        self.metrics.ended(outcome)
        if not self.options.keep_going:
            self._halt()

    def _break(self, hint: Hint, error: Exception) -> None:
        """The attempt could not be made: the queue's failure, not the job's. What runs may end."""
        if isinstance(error, TaskRaised) and isinstance(error.original, StopNow):
            self.inquest.note_stop(hint)
            raise error.original
        trace = error.traceback if isinstance(error, TaskRaised) else ""
        self._broken = QueueStopped(f"The queue cannot go on: {error}\n{trace}".rstrip())
        self._halt()

    def _hold_inquest(self) -> None:
        """Learn what has become of attempts that ended without anybody to say so."""
        for end in self.inquest.look():
            if isinstance(end, Lost):
                self.walk.ended(end.hint)
            else:
                self._act_on(end)

    def _heed_operator(self) -> None:
        self.stop.drain()
        if self.stop.count:
            self._halt()
        if self.stop.count > 1:
            self._stop_at_once()

    def _halt(self) -> None:
        """Hand out nothing more; what runs may end."""
        if not self._halted:
            self._halted, self._halted_at = True, self.clock()

    def _stop_at_once(self) -> None:
        """End the workers: their transactions roll back, and their jobs stay as they were."""
        for ended in self.pool.kill():
            hint = self._release(ended)
            if ended.error is None:
                self._act_on(ended.value)
            elif not self.access.outage.is_on:
                self.access.use(partial(self._leave_trace, hint, ended.error), PATIENCE)
        if not self.access.outage.is_on:
            self.access.use(self.parent.withdraw, PATIENCE)
        raise StopNow

    def _leave_trace(self, hint: Hint, error: Exception) -> None:
        if isinstance(error, WorkerDied):
            sessions.end_all(error.note)
        self.inquest.note_stop(hint)
