"""One database's part of an engine: its hints, what of it runs, and what became of that.

All that needs the database goes through the lane's access, so that a lane whose database is away
holds up no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

from django_async import plans, rollup
from django_async.access import LONGEST, LONGEST_BESIDE_OTHERS, Access
from django_async.cancelling import is_asked_for
from django_async.changes import Changes
from django_async.control import Control, Run
from django_async.hints import Hint
from django_async.inquest import AGAIN, Inquest
from django_async.ledger import Ledger
from django_async.outcomes import End, Lost
from django_async.parents import Registration
from django_async.policy import is_atomic
from django_async.wake import Ear
from django_async.walk import Walk
from forkpool import Pool, Running, Task

BEAT, IDLE_BEAT = 0.25, 1.0
"""Seconds between two moments at which others see what runs here, and requests to cancel are
heeded: while jobs run, and while none does. An idle parent wakes for it as well, however seldom it
looks for jobs: what a dead one ran is for the living to see to, and a queue may be resumed."""

FORETHOUGHT = 0.75 * IDLE_BEAT
"""Seconds by which a parent that runs nothing sees to something before its time."""

PAUSES_AGE, PAUSES_TOLD_AGE = 0.04, 1.0
"""Seconds for which a look at the paused queues holds. The second is that of a service which hears
when somebody pauses or resumes one: it looks with its beat, so that no new job waits for that, and
a beat later at the most."""

LAST_PATIENCE = 2.0
"""Seconds that the last saving of statistics waits for SQLite's writer."""

LOOK_AROUND, LOOK_OUT = 0.25, 1.0
"""Seconds between two looks at the other parents: what one that has died had in hand is then free
at once. The second is that of a parent which knows of no other."""


@dataclass(slots=True)
class Lane:
    """The jobs of one database."""

    using: str
    walk: Walk
    parent: Registration
    pool: Pool
    clock: Callable[[], float]
    one_writer: bool = False
    """Whether only one job may hold a transaction at a time, as on SQLite."""
    ear: Ear | None = None
    """Hears of new jobs, for a service."""
    changes: Changes | None = None
    """Where nobody tells a service: it notices that there may be some."""
    held: dict[int, Hint] = field(default_factory=dict)
    """What was handed out, by the number of its task."""
    access: Access = field(init=False)
    inquest: Inquest = field(init=False)
    control: Control = field(init=False)
    ledger: Ledger = field(init=False)
    """Counts the attempts that end."""
    _suspect: int | None = None
    """The number of the task that is a suspect: beside it no other suspect runs."""
    _is_blocked: bool = False
    """Whether the next job has to wait for the end of another one."""
    _has_put_off: bool = False
    """Whether the latest turn was left to new jobs."""
    _next_look_around: float = 0.0
    _latest_beat: float = -inf
    _next_beat: float = 0.0
    _pauses_hold_until: float = -inf
    """Before the next job, after this, comes a look at the paused queues."""
    _has_new_pauses: bool = False

    def __post_init__(self) -> None:
        self.access = Access(self.using, self.clock)
        self.control = Control(self.using, self.parent.token, self.clock)
        self.inquest = Inquest(self.using, self.clock, partial(is_asked_for, using=self.using))
        self.ledger = Ledger(self.using, self.clock)

    def open(self) -> None:
        """Become known to other parents."""
        self.access.use(self._register)

    def close(self) -> None:
        """Nothing of this lane runs any more."""
        self.inquest.abandon()
        self.withdraw()
        if self.ledger.has_saved:  # a service does so all the time, a pass at its end
            self.access.spare(partial(rollup.roll_up, self.using))

    def withdraw(self, limit: float = LONGEST) -> None:
        """Be known to nobody any more."""
        self.access.spare(partial(self.ledger.save, LAST_PATIENCE), limit)
        self.access.use(self.parent.withdraw, limit)
        self.access.use(self.control.clear, limit)

    def next(self) -> Hint | None:
        """The next job that may run now, written down as about to."""
        if not self.may_hand_out:
            return None
        if self._is_at_hand:  # by now: a moment later it might be time to look
            return self._unless_it_waits(self.walk.take_at_hand())
        return self.access.use(self._next)

    @property
    def _is_at_hand(self) -> bool:
        """Whether the next job can be told without a statement."""
        hint = self.walk.at_hand
        if hint is None or self._has_to_look_at_pauses or self.access.outage.is_on:
            return False
        return self.parent.covers(hint)

    def take(self, number: int, hint: Hint) -> None:
        """The hint was handed out as this task."""
        self.held[number] = hint
        self._next_beat = min(self._next_beat, self.clock() + BEAT)
        if hint.suspected:
            self._suspect = number

    def latest(self, waiting: Iterable[Task]) -> tuple[Any, ...]:
        """The last place in the order that one of this lane's tasks that wait has; before all of
        them if none waits."""
        handed_out = [self.held[task.number] for task in waiting if task.number in self.held]
        return max([hint.order for hint in handed_out], default=())

    def release(self, number: int) -> Hint:
        """The hint of a task that has ended, or was taken back."""
        self._is_blocked = False
        if number == self._suspect:
            self._suspect = None
        return self.held.pop(number)

    def count(self, end: End) -> None:
        """An attempt ended."""
        self.ledger.count(end)
        self.parent.note(end.hint.id)

    def attend(self) -> list[End | Lost]:
        """What is to be seen to between two looks at the workers; how undecided attempts ended."""
        ends: list[End | Lost] = []
        if not self.parent.is_shown and not self._writer_is_taken:
            self.access.use(self._show_again)
        if self.ear and self.ear.has_news:
            self._hear(self.ear)
            if self._may_put_off:
                self._has_put_off = True
                return ends
        self._has_put_off = False
        if self.inquest:
            self.access.use(lambda: ends.extend(self.inquest.look()))
        self._keep_house()
        return ends

    @property
    def _may_put_off(self) -> bool:
        """Whether a new job may be handed out before anything else is seen to: not twice in a row,
        for they may come without end."""
        return self._is_at_hand and not self._has_put_off

    def _keep_house(self) -> None:
        if self._is_time(self._next_look_around) and not self._writer_is_taken:
            self.access.use(self._look_around)
        if self._is_time(self._next_beat):
            self.access.use(self._beat)
        if self.ledger.is_due and not self._writer_is_taken:
            self.access.spare(self.ledger.save)
        if self._is_to_foresee:
            self.access.use(self._foresee)
        if plans.is_due(self.using):
            self.access.use(partial(plans.prepare, self.using))

    def _is_time(self, moment: float) -> bool:
        """Whether something is due; or is soon, and the parent that runs nothing is awake now: to
        wake takes it longer than what it wakes for. Not twice within a beat, however often short
        jobs wake it."""
        is_early = not self.held and self.clock() >= self._latest_beat + BEAT
        return self.clock() + (FORETHOUGHT if is_early else 0.0) >= moment

    @property
    def _is_to_foresee(self) -> bool:
        """Whether a new job would have to wait until it is written down, and nobody waits now."""
        is_idle = not self.held and self.walk.at_hand is None
        return self._is_told and is_idle and self.parent.is_short_sighted

    @property
    def is_reached(self) -> bool:
        """Whether the queue knows of this parent, and its database is there."""
        return self.parent.is_shown and not self.access.outage.is_on

    @property
    def may_hand_out(self) -> bool:
        """Whether another job may begin beside those that run."""
        return not self._is_blocked

    @property
    def is_over(self) -> bool:
        """Whether nothing runs, is undecided, or is left to be offered."""
        return self.walk.finished and not (self.held or self.inquest)

    @property
    def open_ends(self) -> int:
        """Attempts whose end is not known yet."""
        return len(self.held) + len(self.inquest)

    @property
    def is_watching(self) -> bool:
        """Whether it is to look for changes, since the next job may come without a word."""
        is_held_up = self.access.outage.is_on or self._writer_is_taken
        return self.changes is not None and self.may_hand_out and not is_held_up

    @property
    def step(self) -> float:
        """Seconds between two such looks."""
        return self.changes.interval if self.changes else inf

    def sees_changes(self) -> bool:
        """Whether there are some: then it looks for jobs."""
        are_new = bool(self.changes and self.access.use(self.changes.are_new, None))
        if are_new:
            self.walk.hear([None])
        return are_new

    def pause(self, *, takes: bool) -> float:
        """Seconds for which nothing is to be done here but to wait for what runs; whether a worker
        could take a job is for the engine to say."""
        if self.access.outage.is_on:
            return self.access.pause
        if self.inquest:
            return AGAIN
        until_beat = max(0.0, self._next_beat - self.clock())
        if not (takes and self.may_hand_out):
            return until_beat
        if self.ear and self.ear.has_heard:  # in the answer to a statement since
            return 0.0
        if self.walk.pause is None:
            return until_beat if self.held else 0.0
        return min(self.walk.pause, until_beat)

    @property
    def patience_with_claims(self) -> float | None:
        """Seconds that a claim may take beside the jobs of other databases. (SQLite's waits for the
        one writer.)"""
        is_limited = self.access.is_beside_others and not self.one_writer
        return LONGEST_BESIDE_OTHERS if is_limited else None

    def _register(self) -> None:
        self.parent.register()
        self._note_place()

    def _show_again(self) -> None:
        """On a new session: somebody may have taken this parent for dead, and struck it out."""
        self.parent.stamp([*self.held.values(), *self.walk.queued()])

    def _foresee(self) -> None:
        self.parent.foresee(self.walk.queued())

    def _look_around(self) -> None:
        if self.parent.look_around():
            self.walk.look_now()
        self._note_place()

    def _beat(self) -> None:
        """Show what runs, interrupt what is to be cancelled, and see what is paused."""
        self._latest_beat = self.clock()
        self._next_beat = self._latest_beat + (BEAT if self.held else IDLE_BEAT)
        runs = {run.task.number: run for run in self.pool.running() if run.task.number in self.held}
        shown = [_as_shown(self.held[number], run) for number, run in runs.items()]
        wanted = self.control.beat(shown)
        for number in runs:
            if self.held[number].id in wanted:
                self.pool.interrupt(number)
        if self._is_told and self.clock() >= self._pauses_hold_until - 2 * BEAT:
            self._heed_pauses()

    def has_new_pauses(self) -> bool:
        """Whether queues were paused or resumed since this was last asked."""
        new, self._has_new_pauses = self._has_new_pauses, False
        return new

    @property
    def _has_to_look_at_pauses(self) -> bool:
        """Whether the next job has to wait for it."""
        return self.clock() >= self._pauses_hold_until

    def _heed_pauses(self) -> None:
        self._has_new_pauses |= self.walk.heed_pauses(self.control.paused())
        age = PAUSES_TOLD_AGE + BEAT if self._is_told else PAUSES_AGE
        self._pauses_hold_until = self.clock() + age

    def _next(self) -> Hint | None:
        if self._has_to_look_at_pauses:
            self._heed_pauses()
        hint = self.walk.take()
        return None if hint is None else self._unless_it_waits(hint)

    def _unless_it_waits(self, hint: Hint) -> Hint | None:
        may_run = False
        try:
            may_run = self._may_run(hint)
        finally:
            if not may_run:
                self.walk.put_back(hint)
        return hint if may_run else None

    def _may_run(self, hint: Hint) -> bool:
        if self._has_to_wait(hint):
            self._is_blocked = True
            return False
        if not self.parent.covers(hint):
            self.parent.stamp([*self.held.values(), hint, *self.walk.queued()])
        return True

    def _has_to_wait(self, hint: Hint) -> bool:
        """Whether the hint cannot run beside what runs. Who comes after it then waits as well, for
        the sake of the order."""
        if hint.suspected and self._suspect is not None:
            return True
        # A job that waits for the one writer keeps a worker from one that does not.
        return self._writer_is_taken and (is_atomic(hint.meta) or not self.parent.covers(hint))

    @property
    def _writer_is_taken(self) -> bool:
        """Whether a job holds the one writer: then this process must not want to write."""
        return self.one_writer and any(is_atomic(hint.meta) for hint in self.held.values())

    @property
    def _is_told(self) -> bool:
        """Whether this service hears of new jobs and of pauses."""
        return self.ear is not None and self.ear.fileno() is not None

    def _note_place(self) -> None:
        self.walk.is_told = self._is_told
        share = self.walk.share = self.parent.share
        self._next_look_around = self.clock() + (LOOK_AROUND if share.parents > 1 else LOOK_OUT)

    def _hear(self, ear: Ear) -> None:
        if ear.is_deaf:
            self.access.use(ear.listen)
            self.walk.look_now()  # for what was notified meanwhile
        # What has come is read without a statement: it needs no timer, which takes as long.
        self.walk.hear(self.access.use(ear.hear, None) or [])
        if ear.has_new_pauses():
            self._pauses_hold_until = -inf  # if it does not come to that now, before the next job
            self.access.use(self._heed_pauses)


def _as_shown(hint: Hint, run: Running) -> Run:
    seconds = time.monotonic() - run.since
    return Run(hint.id, hint.attempts + 1, run.pid, seconds, run.shown)
