"""The loop of a parent: hand out hints in order, and act on how each attempt ended.

The engine knows neither processes nor SQL. The pool says whether and how a call ended; the engine
says what that means for the pass; the store, what it means for the row. Each database has a lane of
its own. What a lane needs its database for can wait while that is away.

::

    Walk ──hint──▶ Lane ──▶ Engine ──submit──▶ Pool ──▶ runner.run_job ──▶ the database
      ▲                       │ ▲                           │
      └──────lost, failed─────┘ └───────── Outcome ─────────┘

While jobs end one after the other, some more than can run are handed out, so that no worker waits
for the parent's turn. What has not begun is taken back as soon as something else is to come first,
or nothing moves any more.

A pass is over when its walks are; a service goes on until it is told to stop, since its walks start
over again and again (patrol.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from django_async import conf, policy
from django_async.ends import Ends, describe
from django_async.errors import StopNow
from django_async.hints import Hint
from django_async.inquest import PATIENCE
from django_async.lane import Lane
from django_async.metrics import Metrics, NoMetrics
from django_async.rest import Rest
from django_async.runner import run_job
from django_async.terms import Attempt, Options, Reporter, Stop, Summary
from forkpool import Ended, Pool, PoolBusy

logger = logging.getLogger(__name__)

STILL = 0.02
"""Seconds without the end of a job, after which no job is handed out that could not run at once:
the parent comes to its turn sooner than that, and takes the next one by its order then."""

ROUNDING = 0.001
"""Seconds by which a wait may be shorter than it was to be, though nothing has ended it."""

LONGEST_CHORE = 600.0
"""Seconds. A batch takes a fraction of one, unless its database gives no answer; or much that the
application hangs on old jobs goes with them."""


class Duty(Protocol):
    """Something that a service sees to every so often."""

    def see_to(self, engine: Engine) -> float:
        """See to it; the seconds until it is to be seen to again."""


@dataclass(slots=True)
class Engine:
    """Runs until its walks are over. It gets everything it needs, and owns nothing of it."""

    lanes: Sequence[Lane]
    pool: Pool
    clock: Callable[[], float]
    stop: Stop
    report: Reporter
    attempt: Attempt = run_job
    options: Options = field(default_factory=Options)
    duties: Sequence[Duty] = ()
    metrics: Metrics = field(default_factory=NoMetrics)
    summary: Summary = field(default_factory=Summary)
    _lane_of: dict[int, Lane] = field(default_factory=dict)
    """The lane of each task that runs."""
    _chores: dict[int, Callable[[Any], None]] = field(default_factory=dict)
    """What is to hear the end of each task that is no job."""
    _turn: int = 0
    """The lane that is asked first for the next job."""
    _due: dict[int, float] = field(default_factory=dict)
    """When each duty is to be seen to."""
    _next_duty: float = 0.0
    """The first of these moments."""
    _moved: float = -STILL
    """When a job has ended."""
    _rest: Rest = field(default_factory=Rest)
    _halted: bool = False
    _halted_at: float = 0.0
    _is_killed: bool = False
    _ends: Ends = field(init=False)

    def __post_init__(self) -> None:
        self._ends = Ends(
            self.options, self.summary, self.report, self.metrics, self.halt, self._take_back
        )

    def run(self) -> Summary:
        """Until nothing is left, a failure ends it, or the operator does."""
        began = self.clock()
        for lane in self.lanes:
            lane.open()
        try:
            self._go_on()
        except StopNow:
            self._stop_at_once()
            raise
        self._tell_busy(0)
        for lane in self.lanes:
            lane.close()
            self.summary.skipped += lane.walk.skipped
        self.summary.seconds = self.clock() - began
        if self._ends.broken:
            raise self._ends.broken
        return self.summary

    def _go_on(self) -> None:
        while not self._is_over_now():
            self._see_to_duties()
            self._hand_out()
            self._tell_busy(len(self._lane_of))
            self.metrics.tick()
            for ended in self._wait():
                self._act(ended)
            self._rest.end(self.pool)
            self._heed_operator()

    @property
    def is_busy_with_database(self) -> bool:
        """Whether a statement of the parent is under way."""
        return any(lane.access.busy for lane in self.lanes)

    @property
    def is_ready(self) -> bool:
        """Whether the workers are up, and a queue was reached: of several, one that is away keeps
        nobody from the others."""
        up = self.pool.idle + self.running >= self.workers
        return (up or self.summary.executed > 0) and any(lane.is_reached for lane in self.lanes)

    @property
    def workers(self) -> int:
        """How many jobs can run at once."""
        return self.lanes[0].parent.workers

    @property
    def running(self) -> int:
        """How many run."""
        return self.pool.busy - len(self.pool.waiting)

    @property
    def is_halted(self) -> bool:
        """Whether it is about to end."""
        return self._halted

    def halt(self) -> None:
        """Hand out nothing more; what runs may end. Each duty hears of it at the next turn."""
        if not self._halted:
            self._halted, self._halted_at = True, self.clock()
            self._take_back()
            self._due = dict.fromkeys(self._due, 0.0)
            self._next_duty = 0.0

    def run_chore(self, end: Callable[[Any], None], function: Any, *args: Any) -> bool:
        """Have a worker do something else than a job, and tell ``end`` what it returned (None if it
        was not begun, or failed, which is logged); False if no worker is to be had for it."""
        if self._halted or not self._room:
            return False
        try:
            task = self.pool.submit(function, *args, time_limit=LONGEST_CHORE)
        except PoolBusy:
            return False
        self._chores[task.number] = end
        return True

    def _is_over_now(self) -> bool:
        for lane in self.lanes:
            self._ends.learn(lane)
        return self._is_over()

    def _is_over(self) -> bool:
        if self._is_killed:
            return True
        if self._lane_of or self._chores:
            return False
        if any(lane.inquest for lane in self.lanes):
            return self._halted and self.clock() > self._halted_at + PATIENCE
        return self._halted or self._limit_reached or all(lane.is_over for lane in self.lanes)

    def _see_to_duties(self) -> None:
        if self.clock() < self._next_duty:
            return
        for number, duty in enumerate(self.duties):
            if self._due.get(number, 0.0) <= self.clock():
                self._due[number] = self.clock() + duty.see_to(self)
        self._next_duty = min(self._due.values(), default=inf)

    def _hand_out(self) -> None:
        """Give the next hints to the workers: of each database in order, and of several databases
        in turn."""
        if self.pool.ahead and (self._is_still or self._has_new_pauses()):
            self._take_back()
        may_take_back, latest = True, dict[str, tuple[Any, ...]]()
        while ((has_room := self._has_room) or self._may_precede) and (found := self._next()):
            lane, hint = found
            order = hint.order
            if lane.using not in latest:
                latest[lane.using] = lane.latest(self.pool.waiting)
            if may_take_back and order < latest[lane.using]:
                may_take_back = False  # what is left by then was begun, and is only to be seen yet
                lane.walk.put_back(hint)
                self._take_back()
            elif has_room and self._submit(lane, hint):
                latest[lane.using] = max(order, latest[lane.using])
            else:
                lane.walk.put_back(hint)
                return

    def _has_new_pauses(self) -> bool:
        """Whether something that was handed out may be of a queue that was paused since."""
        news = [lane.has_new_pauses() for lane in self.lanes]
        return any(news)

    def _take_back(self) -> None:
        """What no worker has begun is at hand again, in its order."""
        for task in self.pool.take_back():
            if end := self._chores.pop(task.number, None):
                end(None)
                continue
            lane = self._lane_of.pop(task.number)
            hint = lane.release(task.number)
            lane.walk.offer_again(hint)
            self.report.taken_back(task.number, hint)

    def _next(self) -> tuple[Lane, Hint] | None:
        for _ in self.lanes:
            lane = self.lanes[self._turn]
            self._turn = (self._turn + 1) % len(self.lanes)
            if hint := lane.next():
                return lane, hint
        return None

    @property
    def _has_room(self) -> bool:
        """Whether the next hint would be handed out."""
        if self._halted or not self._room:
            return False
        return not (self._limit_reached or self._awaits_verdict)

    @property
    def _may_precede(self) -> bool:
        """Whether it would be in the place of another one that it is to precede."""
        return not self._halted and self.pool.ahead > 0

    @property
    def _awaits_verdict(self) -> bool:
        """Whether what is undecided may be the failure that ends it. That is not waited for as
        long as it takes somebody else to run the job."""
        return not self.options.keep_going and any(one.inquest.is_soon_over for one in self.lanes)

    @property
    def _room(self) -> int:
        return self.pool.idle if self._is_still else self.pool.room

    @property
    def _is_still(self) -> bool:
        return self.clock() >= self._moved + STILL

    @property
    def _limit_reached(self) -> bool:
        if self.options.limit is None:
            return False
        attempted = self.summary.executed + self.summary.failed + self.summary.cancelled
        return attempted + sum(lane.open_ends for lane in self.lanes) >= self.options.limit

    def _submit(self, lane: Lane, hint: Hint) -> bool:
        timeout = policy.timeout(hint.meta)
        limit = None if timeout is None else timeout + conf.current().timeout_grace
        self._tell_busy(len(self._lane_of) + 1)  # before a job runs in this process
        try:
            task = self.pool.submit(
                self.attempt,
                hint,
                lane.using,
                lane.parent.token,
                time_limit=limit,
                begin_limit=lane.patience_with_claims,
            )
        except PoolBusy:
            return False
        lane.take(task.number, hint)
        self._lane_of[task.number] = lane
        self.report.handed_out(task.number, hint)
        return True

    def _tell_busy(self, handed_out: int) -> None:
        workers = self.workers
        self.metrics.set_busy(min(handed_out, workers), workers)

    def _wait(self) -> list[Ended]:
        """Until a job ends, a word comes, or it is time to do something: which ended. Where nobody
        says a word, it is looked for changes meanwhile."""
        takes = self._has_room or self._may_precede
        pause, listening = self._pause(takes=takes), self._listening(takes=takes)
        rest = self._rest.begin(self.pool)
        watching = [lane for lane in self.lanes if takes and lane.is_watching]
        until, step = self.clock() + pause, min([pause, *(lane.step for lane in watching)])
        while True:
            began = self.clock()
            ended = self.pool.wait(step, listening, rest)
            now = self.clock()
            is_cut_short = bool(ended) or now < began + step - ROUNDING
            if not watching or is_cut_short or now > until - ROUNDING:
                return ended
            if any(lane.sees_changes() for lane in watching):
                return ended
            step = min(step, until - now)

    def _pause(self, *, takes: bool) -> float:
        """How long there is nothing to do but to wait for the workers."""
        pauses = [lane.pause(takes=takes) for lane in self.lanes]
        pauses.append(max(0.0, self._next_duty - self.clock()))
        if self.pool.ahead:
            pauses.append(max(0.0, self._moved + STILL - self.clock()))
        grace = self._grace_left()
        return min(pauses if grace is None else [*pauses, grace])

    def _listening(self, *, takes: bool) -> Iterable[int]:
        """What else ends the wait: word of a new job, if a worker can take it."""
        if not takes:
            return ()
        ears = (lane.ear.fileno() for lane in self.lanes if lane.ear and lane.may_hand_out)
        return [descriptor for descriptor in ears if descriptor is not None]

    def _act(self, ended: Ended) -> None:
        if end := self._chores.pop(ended.task.number, None):
            if ended.error:
                logger.error("Upkeep has failed: %s", describe(ended.error))
            end(ended.value)
            return
        self._moved = self.clock()
        self._ends.heed(self._lane_of.pop(ended.task.number), ended)

    def _heed_operator(self) -> None:
        self.stop.drain()
        if self.stop.count or self.stop.hangups:
            self.halt()
        if self.stop.count > 1:
            raise StopNow
        if self._grace_left() == 0:
            logger.warning("The grace is over: %s running jobs are rolled back.", self.pool.busy)
            self._stop_at_once()

    def _grace_left(self) -> float | None:
        asked = self.stop.count or self.stop.hangups or self._ends.broken
        if self.options.grace is None or not (asked and (self._lane_of or self._chores)):
            return None
        return max(0.0, self._halted_at + self.options.grace - self.clock())

    def _stop_at_once(self) -> None:
        """End the workers: their transactions roll back, and their jobs stay as they were."""
        self._is_killed = True
        self.halt()
        for ended in self.pool.kill():
            if ended.task.number in self._chores:
                continue
            self._ends.heed_cut_off(self._lane_of.pop(ended.task.number), ended)
        for lane in self.lanes:
            if not lane.access.outage.is_on:
                lane.withdraw(PATIENCE)
