"""A parent's side of the noticeboard: it shows what it runs, and heeds what it is asked for.

- What has run for SHORT seconds is shown, with the progress that it tells. Short jobs cost nothing.
- What a dead parent showed is struck out, by whoever of the others notices. A parent that forks
  seems dead for some milliseconds, so it has to seem dead at two looks, but on SQLite.
- A request to cancel is heeded by the parent that runs the job: it interrupts it. If nobody runs
  the job any more, because the attempt failed or its parent died, any parent cancels it. A request
  is struck out when its job has ended, and not before.

Nothing here waits for a lock.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from django_async import cancelling, clock, liveness, pausing
from django_async.current import LONGEST_MESSAGE
from django_async.errors import NoticesUnavailable
from django_async.models import Cancellation, Job, Parent, Running
from django_async.noticeboard import Noticeboard, noticeboard
from django_async.outcomes import storable
from django_async.pending import BY_KEY

logger = logging.getLogger(__name__)

SHORT = 0.25
"""Seconds that a job has to run before it is shown."""

LOOK_AROUND = 0.5
"""Seconds between two looks at what the other parents show."""

LOOK_AGAIN = 0.1
"""Seconds after which a parent that seemed dead is looked at again."""


@dataclass(frozen=True, slots=True)
class Run:
    """A job in the hands of one of this parent's workers."""

    job_id: int
    attempt: int
    """1 for the first."""
    pid: int
    seconds: float
    """Since its hand-out."""
    shown: Any = None
    """What it showed last, see CurrentJob.progress(); anything else is not shown."""


@dataclass(slots=True)
class Control:
    """The noticeboard as one parent uses it, in one thread."""

    using: str
    token: str
    clock: Callable[[], float] = time.monotonic
    board: Noticeboard = field(init=False)
    _shown: dict[int, Running] = field(default_factory=dict)
    _shown_in: object = None
    """The session of the noticeboard in which that was written; None if it has to be anew."""
    _has_shown: bool = False
    _seem_dead: set[str] = field(default_factory=set)
    _next_look: float = 0.0
    _complained: bool = False

    def __post_init__(self) -> None:
        self.board = noticeboard(self.using)

    def beat(self, runs: Sequence[Run]) -> set[int]:
        """Show these runs and no others, tidy up after the dead, and cancel what was asked for and
        nobody runs; which of the jobs are to be interrupted: those that were, as well, for a task
        may end before it could be (SQLite's writer was somebody else), and be handed out again.

        Where the noticeboard cannot be used, that is logged once, and nothing happens.
        """
        try:
            self._show(runs)
            self._look_around()
            found = self._heed(runs)
            self._complained = False
        except NoticesUnavailable as error:
            self._shown_in = None
            self._complain(error)
            return set()
        except BaseException:
            self._shown_in = None
            raise
        return found

    def clear(self) -> None:
        """Nothing runs here any more, and this parent ends: heed what was asked for in the last
        moment, for it may be long until the next one comes."""
        try:
            if self._has_shown:
                self.board.erase({self.token})
            self._heed([])
        except NoticesUnavailable as error:
            self._complain(error)
        finally:
            self.board.close()

    def paused(self) -> frozenset[str]:
        """The queues of which nothing is to be handed out; an empty name is every queue."""
        return pausing.paused(self.using)

    def _show(self, runs: Sequence[Run]) -> None:
        """Write what has changed; all of it if the session in which it was written has ended."""
        if self._shown_in is None or self.board.session is not self._shown_in:
            if self._has_shown:
                self.board.erase({self.token})
            self._shown = {}
        now = {run.job_id: run for run in runs if run.seconds >= SHORT}
        new = [run for run in now.values() if not self._is_shown(run)]
        gone = {job for job in self._shown if job not in now} | {
            run.job_id for run in new if run.job_id in self._shown
        }
        if gone or new:
            rows, self._has_shown = self._rows(new), True
            self.board.replace(self.token, gone, rows)
            self._shown = {job: row for job, row in self._shown.items() if job not in gone}
            self._shown |= {row.job_id: row for row in rows}
        self._shown_in = self.board.session

    def _is_shown(self, run: Run) -> bool:
        row = self._shown.get(run.job_id)
        return row is not None and _facts(row) == _facts(self._row(run, row.since))

    def _rows(self, runs: Sequence[Run]) -> list[Running]:
        if not runs:
            return []
        now = clock.utc_now(self.using)
        return [self._row(run, self._since(run, now)) for run in runs]

    def _since(self, run: Run, now: datetime) -> datetime:
        """By the database's clock, and not told anew with each step of the progress."""
        row = self._shown.get(run.job_id)
        if row is not None and row.attempt == run.attempt:
            return row.since
        return clock.as_field_value(now - timedelta(seconds=run.seconds))

    def _row(self, run: Run, since: datetime) -> Running:
        return Running(
            parent_id=self.token,
            job_id=run.job_id,
            attempt=run.attempt,
            pid=run.pid,
            since=since,
            **_progress(run.shown),
        )

    def _look_around(self) -> None:
        """Strike out what dead parents show; notice if somebody took this one for dead."""
        if self.clock() < self._next_look:
            return
        rows = self.board.runs()
        if {row.job_id for row in rows if row.parent_id == self.token} != self._shown.keys():
            self._shown_in = None
        gone, doubtful = self._judge({row.parent_id for row in rows} - {self.token})
        self.board.erase(gone | (doubtful & self._seem_dead))
        self._seem_dead = doubtful - self._seem_dead
        self._next_look = self.clock() + (LOOK_AGAIN if self._seem_dead else LOOK_AROUND)

    def _judge(self, tokens: set[str]) -> tuple[set[str], set[str]]:
        """Who of the parents is gone for certain, and who seems to be."""
        if not tokens:
            return set(), set()
        connection = connections[self.using]
        known = list(Parent.objects.using(self.using).filter(token__in=tokens))
        struck_out = tokens - {one.token for one in known}
        processes = {one.token: one.process for one in known}
        dead = processes.keys() - liveness.living(processes, connection)
        return (struck_out | dead, set()) if liveness.is_exact(connection) else (struck_out, dead)

    def _heed(self, runs: Sequence[Run]) -> set[int]:
        """Which jobs are to be interrupted; what nobody runs is cancelled here."""
        held = {run.job_id for run in runs}
        requests = self.board.requests()
        if not requests:
            return set()
        valid = self._valid(requests)
        self.board.drop([one for one in requests if one not in valid])
        self._cancel_free([one for one in valid if one.job_id not in held])
        return held & {one.job_id for one in valid}

    def _valid(self, requests: Sequence[Cancellation]) -> list[Cancellation]:
        """The requests for jobs that have not ended."""
        ids = {one.job_id for one in requests}
        jobs = Job.objects.using(self.using).filter(BY_KEY, pk__in=ids)
        added = dict(jobs.values_list("pk", "added"))
        return [one for one in requests if added.get(one.job_id) == one.added]

    def _cancel_free(self, requests: Sequence[Cancellation]) -> None:
        """Cancel what nobody runs, if it is still asked for: retry() strikes requests out."""
        if not requests:
            return
        ids = {one.job_id for one in requests}
        done = cancelling.cancel_free(ids, self.using, wanted=self._asked_for)
        self.board.drop([one for one in requests if one.job_id in done])

    def _asked_for(self) -> set[int]:
        return {one.job_id for one in self.board.requests()}

    def _complain(self, error: NoticesUnavailable) -> None:
        if not self._complained:
            logger.warning("%s", error)
        self._complained = True


def _facts(row: Running) -> tuple[object, ...]:
    return row.attempt, row.pid, row.done, row.total, row.message


def _progress(shown: Any) -> dict[str, Any]:
    """The columns that tell the progress; whatever else a job has shown is its own affair."""
    told = shown if isinstance(shown, dict) else {}
    message = told.get("message")
    return {
        "done": _number(told.get("done")),
        "total": _number(told.get("total")),
        "message": storable(message[:LONGEST_MESSAGE])[:LONGEST_MESSAGE]
        if isinstance(message, str)
        else "",
    }


def _number(value: Any) -> float | None:
    """As every database can hold it."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
