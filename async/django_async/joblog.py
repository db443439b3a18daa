"""One record in the log for each attempt that ended, with figures that a log's reader can sum up.

The logger is ``django_async.jobs``: INFO for a job that was executed, WARNING for one
that was cancelled while it ran, ERROR for one that failed.
"""

from __future__ import annotations

import logging

from django_async.errors import AttemptFailed
from django_async.outcomes import Cancelled, End, Failed, word
from django_async.payload import about, printable

logger = logging.getLogger("django_async.jobs")


def tell(outcome: End, error: BaseException | None = None) -> None:
    """Log how an attempt ended; ``error`` is what it raised, if that is at hand."""
    if isinstance(outcome, Failed):
        logger.error(
            "Job %s failed: %s: %s",
            outcome.hint.id,
            outcome.label,
            printable(outcome.failure.exception),
            exc_info=error or AttemptFailed(outcome.failure.exception),
            extra=_extra(outcome),
        )
    elif isinstance(outcome, Cancelled):
        logger.warning(
            "Job %s was cancelled while it ran: %s",
            outcome.hint.id,
            outcome.label,
            extra=_extra(outcome),
        )
    elif logger.isEnabledFor(logging.INFO):
        logger.info(
            "Job %s executed in %.3f s: %s",
            outcome.hint.id,
            outcome.seconds,
            outcome.label,
            extra=_extra(outcome),
        )


def _extra(outcome: End) -> dict[str, object]:
    return {
        **about(outcome.hint.id, outcome.name),
        "queue": outcome.queue,
        "attempt": outcome.attempt,
        "wait_seconds": outcome.waited,
        "run_seconds": outcome.seconds,
        "outcome": word(outcome),
    }
