"""What the end of an attempt means for a pass: for its walks, its account, and whether it goes on.

The pool says how a task ended; the attempt, if it came to its end, what became of the job.
Of an attempt that nobody has told the end of, the database is asked later (inquest.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django_async import sessions
from django_async.errors import QueueStopped, StopNow
from django_async.hints import Hint
from django_async.inquest import PATIENCE
from django_async.lane import Lane
from django_async.metrics import Metrics
from django_async.outcomes import (
    Away,
    Busy,
    Cancelled,
    End,
    Executed,
    Failed,
    Lost,
    Outcome,
    Undecided,
)
from django_async.terms import Options, Reporter, Summary
from forkpool import Ended, NeverUnderWay, PoolError, TaskRaised, WorkerDied

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Ends:
    """Acts on the ends of attempts."""

    options: Options
    summary: Summary
    report: Reporter
    metrics: Metrics
    halt: Callable[[], None]
    """Nothing more is to be handed out."""
    take_back: Callable[[], None]
    """What has not begun is to wait for another worker."""
    broken: QueueStopped | None = None
    """Why the queue cannot go on."""

    def heed(self, lane: Lane, ended: Ended) -> None:
        """A task of this lane has ended."""
        hint = lane.release(ended.task.number)
        if ended.error is None:
            self._act_on(lane, _outcome(ended.value, hint))
        elif isinstance(ended.error, NeverUnderWay):
            self._leave_alone(lane, hint, ended.error, ended.seconds)
        elif _ends_the_queue(ended):
            self._break(lane, hint, ended.error)
        else:
            lane.inquest.add_death(hint, ended.error, ended.seconds)

    def heed_cut_off(self, lane: Lane, ended: Ended) -> None:
        """A task of this lane has ended, or its worker was killed, since everything stops."""
        hint = lane.release(ended.task.number)
        if ended.error is None:
            self._act_on(lane, _outcome(ended.value, hint))
        elif not lane.access.outage.is_on:
            lane.access.use(partial(_leave_trace, lane, hint, ended.error), PATIENCE)

    def learn(self, lane: Lane) -> None:
        """See what has become of attempts that ended without anybody to say so."""
        for end in lane.attend():
            if isinstance(end, Lost):
                lane.walk.ended(end.hint)
            else:
                self._act_on(lane, end)

    def _act_on(self, lane: Lane, outcome: Outcome) -> None:
        match outcome:
            case Executed(hint):
                self.summary.executed += 1
                lane.walk.ended(hint)
                self._tell(lane, outcome)
            case Failed():
                self._note_failure(lane, outcome)
            case Cancelled(hint):
                self.summary.cancelled += 1
                lane.walk.ended(hint)
                self._tell(lane, outcome)
            case Lost(hint, taken):
                lane.walk.lost(hint, taken=taken)
            case Busy(hint):
                lane.walk.put_back(hint)
            case Away(hint, error):
                lane.walk.put_back(hint)
                lane.access.outage.note(error)
            case Undecided():
                lane.inquest.add(outcome)

    def _note_failure(self, lane: Lane, outcome: Failed) -> None:
        self.summary.failed += 1
        self.summary.first_failure = self.summary.first_failure or outcome
        if outcome.discarded:
            lane.walk.ended(outcome.hint)
        else:
            lane.walk.failed(outcome.hint)
        self._tell(lane, outcome)
        if not self.options.keep_going:
            self.halt()

    def _tell(self, lane: Lane, end: End) -> None:
        self.report.ended(end)
        self.metrics.ended(end)
        lane.count(end)

    def _leave_alone(self, lane: Lane, hint: Hint, error: NeverUnderWay, seconds: float) -> None:
        """A claim got no answer: the job was not attempted, and the workers are for others. What
        the claim may hold is let go of when the database answers."""
        lane.inquest.add_death(hint, error, seconds)
        lane.access.got_no_answer(str(error), seconds)
        self.take_back()

    def _break(self, lane: Lane, hint: Hint, error: Exception) -> None:
        """The attempt could not be made: the queue's failure, not the job's. What runs may end."""
        original = error.original if isinstance(error, TaskRaised) else None
        if isinstance(original, StopNow):
            lane.inquest.note_stop(hint)
            raise original
        if isinstance(original, QueueStopped) and lane.access.is_beside_others:
            lane.walk.put_back(hint)
            lane.access.refused(str(original))
            return
        self.broken = QueueStopped(f"The queue cannot go on: {describe(error)}")
        logger.error("%s", self.broken)  # at once: what still runs may take an hour
        self.halt()


def describe(error: Exception) -> str:
    """The error that a task has ended with, and where it was raised."""
    trace = error.traceback if isinstance(error, TaskRaised) else ""
    return f"{error}\n{trace}".rstrip()


def _outcome(value: Outcome | tuple[Any, ...], hint: Hint) -> Outcome:
    """As the worker that had the hint has told it."""
    return Executed.unpacked(value, hint) if isinstance(value, tuple) else value


def _ends_the_queue(ended: Ended) -> bool:
    """Whether more is amiss than one worker: the operator's signal, a queue that cannot be claimed
    from, or whatever it is if it is in this process."""
    if not isinstance(ended.error, TaskRaised):
        return False
    return isinstance(ended.error.original, StopNow | QueueStopped) or ended.pid == os.getpid()


def _leave_trace(lane: Lane, hint: Hint, error: PoolError) -> None:
    if isinstance(error, WorkerDied):
        sessions.end_all(error.note)
    lane.inquest.note_stop(hint)
