"""What a forked worker does: it begins once, and then attempts one job after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from django_async import exporter, forking, ownership, plans, sessions, signals, titles, tracing
from django_async.hints import Hint
from django_async.outcomes import Executed, Outcome
from django_async.runner import run_job
from django_async.workplace import Workplace

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
    outcome = _workplace().run(run_job, hint, using, token)
    plans.prepare(using)
    return outcome


def chore(function: Callable[..., T], *args: Any) -> T:
    """Do something for the parent that is no job."""
    return _workplace().run(function, *args)


@cache
def _workplace() -> Workplace:
    return Workplace()
