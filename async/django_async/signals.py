"""What applications can listen to, and where in the course of a job each signal is sent.

::

    a worker begins         worker_started    before its first job
    BEGIN, claim, SAVEPOINT
      job_started                             in the job's transaction, before its function
      the job
    mark or failure, COMMIT, commit hooks
    job_executed | job_failed | job_discarded
      | job_cancelled                         after it, outside of any transaction

A receiver that raises is logged, and harms neither the job nor other receivers. Those after the
commit are at most once: a worker that dies before them sends nothing. The end of an attempt whose
worker has died is told by the parent, where receivers have two seconds.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.dispatch import Signal

from django_async.errors import StopNow
from django_async.hooks import end_what_they_began
from django_async.outcomes import Cancelled, End, Executed
from django_async.payload import about
from forkpool import TaskInterrupted, TaskTimeout

if TYPE_CHECKING:
    from django_async.locks import Claimed

__all__ = [
    "job_cancelled",
    "job_discarded",
    "job_executed",
    "job_failed",
    "job_started",
    "worker_started",
]

logger = logging.getLogger(__name__)

NOT_RECEIVED = "A signal of job %s was not received by all."

worker_started = Signal()
"""In a forked worker, before its first job: the place to start threads, such as an exporter's."""

job_started = Signal(use_caching=True)
"""With ``using``, ``job_id``, ``name``, ``queue``, ``attempt`` and ``wait_seconds``."""

job_executed = Signal(use_caching=True)
"""With what job_started has, and ``run_seconds``."""

job_failed = Signal(use_caching=True)
"""With what job_executed has, and ``exception``, the text of the Error. The job will be tried
again."""

job_discarded = Signal(use_caching=True)
"""As job_failed; the job will not be tried again. One of the two is sent, not both."""

job_cancelled = Signal(use_caching=True)
"""With what job_executed has. The job was cancelled while it ran; one that did not sends none."""


def tell_worker_started() -> None:
    """In a worker that begins."""
    worker_started.send_robust(sender=None)


def tell_started(claimed: Claimed, using: str) -> None:
    """What the receivers write is the job's: committed with its effects, or undone with them. If
    one of them raises, what all of them wrote is undone, and the job goes on without."""
    if not _has_receivers(job_started):
        return
    try:
        with transaction.atomic(using=using):
            answers = job_started.send_robust(
                _sender(),
                using=using,
                job_id=claimed.id,
                name=claimed.name,
                queue=claimed.queue,
                attempt=claimed.attempts + 1,
                wait_seconds=claimed.waited,
            )
            if any(isinstance(answer, Exception) for _, answer in answers):
                transaction.set_rollback(True, using=using)
    except (StopNow, TaskTimeout, TaskInterrupted):  # meant for the job
        raise
    except BaseException:
        logger.exception(NOT_RECEIVED, claimed.id, extra=about(claimed.id, claimed.name))


def tell_end(outcome: End, using: str) -> None:
    """After the end of an attempt is committed."""
    signal, more = _signal_of(outcome)
    if not _has_receivers(signal):
        return
    try:
        signal.send_robust(
            _sender(),
            using=using,
            job_id=outcome.hint.id,
            name=outcome.name,
            queue=outcome.queue,
            attempt=outcome.attempt,
            wait_seconds=outcome.waited,
            run_seconds=outcome.seconds,
            **more,
        )
    except StopNow:
        raise
    except BaseException:
        job_id = outcome.hint.id
        logger.exception(NOT_RECEIVED, job_id, extra=about(job_id, outcome.name))
    end_what_they_began(connections[using])


def _signal_of(outcome: End) -> tuple[Signal, dict[str, Any]]:
    if isinstance(outcome, Executed):
        return job_executed, {}
    if isinstance(outcome, Cancelled):
        return job_cancelled, {}
    signal = job_discarded if outcome.discarded else job_failed
    return signal, {"exception": outcome.failure.exception}


def _has_receivers(signal: Signal) -> bool:
    return bool(signal.receivers) and signal.has_listeners(_sender())


def _sender() -> Any:
    """Not imported above: an apps.py may import these signals, and no models."""
    from django_async.models import Job

    return Job
