"""How an attempt ended, as frozen values, and the rule from there to the row's next state.

Nothing here touches a database or a clock.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from django_async.errors import Cancelled as CancelledError
from django_async.errors import StopNow, chain
from django_async.hints import Hint
from forkpool import (
    TaskInterrupted,
    TimeLimitExceeded,
    WorkerDied,
    explain_memory_error,
    was_interrupted,
)

LONGEST_TEXT = 100_000
"""Characters kept of an exception's text and of a traceback; the rest is counted, not stored."""

LONGEST_DELAY = 10 * 365 * 86_400.0
"""Seconds. Ten years are as good as never, and still a date that every database can hold."""

LOWEST_PRIORITY = -(2**31)
"""What the column can hold."""

STOPPED = "django_async.errors.StopNow"
"""The kind of what the operator cut short, which is no attempt."""

LONGEST_KIND = 255
"""Characters of the path of an exception's class, as its column holds them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as its Error row will say it."""

    exception: str
    traceback: str
    died: bool = False
    """Whether the worker died: the first time, the job is due again at once."""
    all_died: bool = False
    """Whether its parent and siblings died with it: the job goes on being run alone."""
    cancels: bool = False
    """Whether somebody asked for its end: the job is cancelled, and not tried again."""
    kind: str | None = None
    """The dotted path of the exception's class."""
    worker: str | None = None
    """Which process made the attempt, where that is known."""
    seconds: float | None = None
    """How long ago the attempt began, where that is known."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """From an exception; a traceback shows lines of code, never the values of variables."""
        explain_memory_error(error)
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        trace = storable("".join(lines))
        if interrupted := _interruption(error):
            return cls(
                f"Cancelled({str(interrupted)!r})", trace, cancels=True, kind=_path(CancelledError)
            )
        return cls(storable(_repr(error)), trace, kind=_path(type(error)))

    @classmethod
    def of_death(cls, description: str) -> Failure:
        """From the death of the worker that held the job, with its signal or exit code."""
        return cls(
            f"WorkerDied({description!r})",
            "The process ended, so there is no traceback.\n",
            died=True,
            kind=_path(WorkerDied),
        )

    @classmethod
    def of_timeout(cls, description: str) -> Failure:
        """From the end of a worker that had to be killed, since its job did not heed its limit."""
        return cls(
            f"TimeLimitExceeded({description!r})",
            "The process was killed: there is no traceback.\n",
            kind=_path(TimeLimitExceeded),
        )

    @classmethod
    def of_interruption(cls, description: str) -> Failure:
        """From the end of a worker that had to be killed, since its job was to be cancelled and did
        not heed that."""
        return cls(
            f"Cancelled({description!r})",
            "The process was killed: there is no traceback.\n",
            cancels=True,
            kind=_path(CancelledError),
        )

    @classmethod
    def of_common_death(cls) -> Failure:
        """From an attempt with which everybody died who could have told its end."""
        return replace(cls.of_death("worker and parent ended while the job ran"), all_died=True)

    def given_up(self, deaths: int) -> Failure:
        """The same, saying that it was the last one."""
        why = f"discarded after {deaths} deaths of its worker, as MAX_CRASHES says"
        return replace(self, exception=f"{self.exception}: {why}")


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt that was made. Those who watch the queue want to know of what and how long."""

    hint: Hint
    label: object
    """What is written, as text, to name the call on one line."""
    seconds: float
    name: str | None = field(default=None, kw_only=True)
    queue: str | None = field(default=None, kw_only=True)
    waited: float | None = field(default=None, kw_only=True)
    """Seconds from when the job was due to its start; None where that is not known, as of an
    attempt whose worker has died."""

    @property
    def attempt(self) -> int:
        """1 for the job's first. One that had begun without a transaction is counted already."""
        return self.hint.attempts + (self.hint.started is None)


@dataclass(frozen=True, slots=True)
class Executed(Attempted):
    """Its effects, its result and its mark are committed."""

    def packed(self, label: str = "") -> tuple[Any, ...]:
        """What a parent does not know that has handed out the job, with the label if it tells of
        each one. It is pickled in a tenth of the time, and most jobs end so."""
        return label, self.seconds, self.name, self.queue, self.waited

    @classmethod
    def unpacked(cls, packed: tuple[Any, ...], hint: Hint) -> Executed:
        """The same outcome, where the hint is known."""
        label, seconds, name, queue, waited = packed
        return cls(hint, label, seconds, name=name, queue=queue, waited=waited)


@dataclass(frozen=True, slots=True)
class Failed(Attempted):
    """Nothing of it was kept but its error."""

    failure: Failure
    discarded: bool


@dataclass(frozen=True, slots=True)
class Cancelled(Attempted):
    """Somebody asked for its end: nothing of it was kept but its error, and it has ended."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The hint could not be claimed."""

    hint: Hint
    taken: bool
    """Whether the job was executed by somebody else."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The claim met somebody else's write, or a session that had ended: try again."""

    hint: Hint


@dataclass(frozen=True, slots=True)
class Conflict:
    """A deadlock or a serialisation failure undid the attempt: it is nobody's fault, and the job is
    run again at once, from the claim on, which was lost with the rest."""

    hint: Hint


@dataclass(frozen=True, slots=True)
class Away:
    """There was no database to claim the job from."""

    hint: Hint
    error: str


@dataclass(frozen=True, slots=True)
class Undecided(Attempted):
    """It failed and its row's lock is gone: the failure is still to be recorded, by whoever can
    take that lock again and finds the job unexecuted."""

    failure: Failure


Outcome = Executed | Failed | Cancelled | Lost | Busy | Conflict | Away | Undecided


End = Executed | Failed | Cancelled
"""Of an attempt that counts as one."""


def word(outcome: End) -> str:
    """How it ended, in one word: as logs, metrics and spans say it."""
    match outcome:
        case Executed():
            return "executed"
        case Cancelled():
            return "cancelled"
    return "discarded" if outcome.discarded else "failed"


def unsuccessful(attempted: Attempted, failure: Failure, *, discarded: bool) -> Failed | Cancelled:
    """The end of an attempt that did not succeed, now that it is recorded."""
    what = (attempted.hint, attempted.label, attempted.seconds)
    more = {field: getattr(attempted, field) for field in ("name", "queue", "waited")}
    if failure.cancels:
        return Cancelled(*what, **more)
    return Failed(*what, failure, discarded, **more)


@dataclass(frozen=True, slots=True)
class History:
    """What the rule has to know of a job."""

    attempts: int
    crashes: int
    priority: int
    max_attempts: int | None = None
    max_crashes: int | None = None
    backoff: Callable[[int], float | None] | None = None
    """From the number of failed attempts to seconds; None gives the job up."""


@dataclass(frozen=True, slots=True)
class NextState:
    """What becomes of the row after a failed attempt."""

    attempts: int
    crashes: int
    priority: int
    delay: float | None
    """Seconds until the next attempt; None leaves it due as it was."""
    discarded: bool


def after_failure(history: History, *, died: bool) -> NextState:
    """The row's next state: later and one priority lower, or given up.

    The first death of a worker costs the job nothing but the attempt.
    """
    attempts = history.attempts + 1
    crashes = history.crashes + died
    discarded = _is_reached(history.max_attempts, attempts)
    if died:
        discarded = discarded or _is_reached(history.max_crashes, crashes)
    if died and crashes == 1:
        return NextState(attempts, crashes, history.priority, None, discarded)
    delay = (history.backoff or default_backoff)(attempts)
    priority = max(history.priority - 1, LOWEST_PRIORITY)
    if delay is None:
        return NextState(attempts, crashes, priority, None, discarded=True)
    return NextState(attempts, crashes, priority, min(delay, LONGEST_DELAY), discarded)


def _is_reached(limit: int | None, number: int) -> bool:
    return limit is not None and number >= limit


def default_backoff(attempts: int) -> float:
    """Seconds to wait after so many failed attempts: 0.7.3's curve, 1, 3, 6, 9 minutes …"""
    return 60.0 * math.pow(min(attempts, 10**6), 1.6)


def storable(text: str) -> str:
    """The text as every database can store it: without NUL and lone surrogates, not endless."""
    text = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    cut = len(text) - LONGEST_TEXT
    return text if cut <= 0 else f"{text[:LONGEST_TEXT]}\n… and {cut} more characters"


def _interruption(error: BaseException | None) -> TaskInterrupted | None:
    """The interruption that the error is, or that it came of: a statement that was cut off, say.
    Where nobody has interrupted the job, an exception of this class is its own affair."""
    if not was_interrupted():
        return None
    return next((link for link in chain(error) if isinstance(link, TaskInterrupted)), None)


def _path(kind: type[BaseException]) -> str:
    return storable(f"{kind.__module__}.{kind.__qualname__}")[:LONGEST_KIND]


def _repr(error: BaseException) -> str:
    try:
        return repr(error)
    except StopNow:
        raise
    except BaseException:  # noqa: BLE001 - an exception's own __repr__ may do anything
        return f"<{type(error).__qualname__}, whose repr() failed>"
