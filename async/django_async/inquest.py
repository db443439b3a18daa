"""Attempts whose end nobody could tell, until it is known.

A worker has died, or an attempt has lost its transaction and could not get the row's lock again to
record why. Here each is looked at until its lock can be had: whoever holds that knows what became
of the attempt. A plain read would prove nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from django_async import liveness, policy, sessions, store, witness
from django_async.hints import Hint
from django_async.outcomes import (
    STOPPED,
    End,
    Executed,
    Failure,
    Lost,
    Undecided,
    storable,
    unsuccessful,
)
from django_async.payload import about, printable
from django_async.store import Settlement
from forkpool import (
    NeverUnderWay,
    PoolError,
    TaskRaised,
    TimeLimitExceeded,
    WorkerDied,
    WorkerInterrupted,
    soft_time_limit,
)

logger = logging.getLogger(__name__)

AGAIN = 0.02
"""Seconds between two looks at an attempt that is undecided: a killed worker's row is free again
some 5 ms after its end."""

PATIENCE = 2.0
"""Seconds that a stopping queue gives to what is undecided; then it is left to the next pass, to
which the job looks as it did before the attempt."""


@dataclass(slots=True)
class Inquest:
    """What is undecided."""

    using: str
    clock: Callable[[], float]
    is_asked_to_end: Callable[[int], bool] = lambda _: False
    """Whether somebody has asked to cancel the job of this id: after a death it is not tried
    again."""
    _deaths: list[tuple[Hint, PoolError, float]] = field(default_factory=list)
    _undecided: dict[int, Undecided] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)
    """When each was looked at first."""
    _next: float = 0.0
    _soon: float = 0.0
    """Until when the latest of them may well be told."""

    def __len__(self) -> int:
        return len(self._deaths) + len(self._undecided)

    @property
    def is_soon_over(self) -> bool:
        """Whether there is something that may well be told soon. A row that stays locked for longer
        is somebody else's, who had the same hint and runs the job, perhaps for an hour."""
        return len(self) > 0 and self.clock() < self._soon

    def add(self, outcome: Undecided) -> None:
        """An attempt could not record its failure itself."""
        self._soon = self.clock() + PATIENCE
        self._undecided[outcome.hint.id] = outcome
        self._since[outcome.hint.id] = self.clock()

    def add_death(self, hint: Hint, death: PoolError, seconds: float) -> None:
        """An attempt's worker has died, or could not say how it ended, so long after it was handed
        the job."""
        self._deaths.append((hint, death, seconds))
        self._next, self._soon = 0.0, self.clock() + PATIENCE

    def look(self) -> Iterator[End | Lost]:
        """What can be told by now: attempts that failed or were cancelled and are recorded, and
        attempts that were executed all the same. One by one, for the database may go away in
        between."""
        if self.clock() < self._next:
            return
        yield from self._open_deaths()
        for outcome in list(self._undecided.values()):
            if end := self._settle(outcome):
                yield end
        self._next = self.clock() + AGAIN

    def abandon(self) -> None:
        """The queue ends, and these are still locked: say so."""
        undecided = [(one.hint.id, one.failure.exception) for one in self._undecided.values()]
        undecided += [
            (hint.id, str(death))
            for hint, death, _ in self._deaths
            if not isinstance(death, NeverUnderWay)
        ]
        for job_id, why in undecided:
            logger.warning(
                "Job %s failed and its row is still locked: no error is kept: %s",
                job_id,
                printable(why),
                extra=about(job_id, None),
            )

    def note_stop(self, hint: Hint) -> None:
        """Leave the trace of a job that the operator cut short, as soon as its lock is free."""
        failure = Failure(
            "Stopped('the operator stopped the workers')",
            "The attempt was rolled back.\n",
            kind=STOPPED,
        )
        deadline = self.clock() + PATIENCE
        while self.clock() < deadline:
            if store.note_stop(hint, failure, self.using) is not Settlement.UNDECIDED:
                return
        logger.warning(
            "Job %s was stopped; its row is still locked, so no error is kept.",
            hint.id,
            extra=about(hint.id, None),
        )

    def _open_deaths(self) -> Iterator[Lost]:
        """End the sessions of the dead, which may hold locks, and find out what they were at. Those
        whose claim had no answer were at nothing: the claim may have its lock all the same."""
        silent = set[str]()  # it is waited for once, however many have died
        while self._deaths:
            hint, death, seconds = self._deaths[-1]
            failure = replace(_failure_of(death), seconds=seconds)
            if isinstance(death, WorkerDied):
                sessions.end_all(death.note, silent)
                failure = replace(failure, worker=liveness.worker(death.pid))
            if isinstance(death, NeverUnderWay):
                self._deaths.pop()
                yield Lost(hint, taken=False)
                continue
            label, name, queue = store.describe(hint, self.using)
            if self.is_asked_to_end(hint.id):
                failure = replace(failure, cancels=True)
            self.add(Undecided(hint, label, seconds, failure, name=name, queue=queue))
            self._deaths.pop()

    def _settle(self, outcome: Undecided) -> End | Lost | None:
        if outcome.hint.started is not None or self._is_somebody_elses(outcome):
            return self._leave(outcome)
        settlement = store.settle(outcome.hint, outcome.failure, self.using)
        if settlement is Settlement.UNDECIDED:
            return None
        if settlement is Settlement.EXECUTED:
            survived = _survived(outcome, self.using)
            self._forget(outcome)
            return survived
        self._forget(outcome)
        end = unsuccessful(outcome, outcome.failure, discarded=settlement is Settlement.DISCARDED)
        with soft_time_limit(PATIENCE):  # receivers of signals are the application's code
            witness.tell(end, self.using)
        return end

    def _is_somebody_elses(self, outcome: Undecided) -> bool:
        """Whether a job without a transaction is owned still, though the sessions of the dead were
        ended: somebody else, who had the same hint, runs it, perhaps for an hour."""
        is_late = self.clock() > self._since[outcome.hint.id] + PATIENCE
        return is_late and not policy.is_atomic(outcome.hint.meta)

    def _leave(self, outcome: Undecided) -> Lost:
        """The attempt was not this worker's, or did not come about. If it was all the same, the
        row says so to whoever gets the job next."""
        self._forget(outcome)
        return Lost(outcome.hint, taken=False)

    def _forget(self, outcome: Undecided) -> None:
        del self._undecided[outcome.hint.id], self._since[outcome.hint.id]


def _failure_of(death: PoolError) -> Failure:
    if isinstance(death, TaskRaised):
        return Failure(storable(death.exception), storable(death.traceback), died=True)
    if isinstance(death, WorkerInterrupted):
        return Failure.of_interruption(str(death))
    if isinstance(death, TimeLimitExceeded):
        return Failure.of_timeout(str(death))
    return Failure.of_death(str(death))


def _survived(outcome: Undecided, using: str) -> Executed | Lost:
    """The attempt's end was lost, and not the attempt: a commit hook killed the worker, say; or a
    receiver of its signal, which is not sent again."""
    is_own = store.was_executed_by(outcome.failure.worker, outcome.hint, using)
    logger.warning(
        "Job %s was executed before this: %s",
        outcome.hint.id,
        printable(outcome.failure.exception),
        extra=about(outcome.hint.id, outcome.name),
    )
    if not is_own:
        return Lost(outcome.hint, taken=True)
    told = {field: getattr(outcome, field) for field in ("name", "queue", "waited")}
    return Executed(outcome.hint, outcome.label, outcome.seconds, **told)
