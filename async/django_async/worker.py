"""What a forked worker does: it begins once, and then attempts one job after the other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn, TypeVar

from django_async import exporter, forking, ownership, plans, sessions, signals, titles, tracing
from django_async.errors import QueueStopped
from django_async.hints import Hint
from django_async.outcomes import Executed, Outcome
from django_async.payload import about
from django_async.runner import run_job
from django_async.workplace import Workplace

logger = logging.getLogger(__name__)

T = TypeVar("T")


def begin(most_jobs: int | None = None) -> None:
    """In the child, before its first job: it has so many of them at the most."""
    exporter.let_go()
    sessions.loosen_waits()
    forking.begin_worker()
    ownership.keep_sessions()
    plans.begin(most_jobs)
    titles.begin()
    _workplace()
    tracing.flush_at_exit()
    forking.connect()
    signals.tell_worker_started()


def attempt(hint: Hint, using: str, token: str) -> Outcome | tuple[Any, ...]:
    """Attempt the job, and leave the process as it was, ready for the next one. Of what was
    executed, the parent is told no more than it does not know."""
    outcome = _attempt(hint, using, token)
    return outcome.packed() if isinstance(outcome, Executed) else outcome


def attempt_aloud(hint: Hint, using: str, token: str) -> Outcome | tuple[Any, ...]:
    """The same for a parent that tells of each job."""
    outcome = _attempt(hint, using, token)
    return outcome.packed(str(outcome.label)) if isinstance(outcome, Executed) else outcome


def _attempt(hint: Hint, using: str, token: str) -> Outcome:
    try:
        outcome = _workplace().run(run_job, hint, using, token)
        plans.prepare(using)
    except QueueStopped:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a job may have done to this process
        _die(hint, error)
    return outcome


def _die(hint: Hint, error: BaseException) -> NoReturn:
    """End this process, in which an attempt cannot be brought to its end: an earlier job, or this
    one, may have closed its files, or replaced what the queue itself calls. What is open is rolled
    back, another process takes the place, and the parent finds out what became of the attempt."""
    try:
        logger.critical(
            "Job %s: the attempt broke off, and its worker ends.",
            hint.id,
            exc_info=error,
            extra=about(hint.id, None),
        )
    finally:
        os._exit(os.EX_SOFTWARE)


def chore(function: Callable[..., T], *args: Any) -> T:
    """Do something for the parent that is no job."""
    return _workplace().run(function, *args)


@cache
def _workplace() -> Workplace:
    return Workplace()
