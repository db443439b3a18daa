"""Those who watch a job: a record in the log, signals, a span. Nothing they do is the job's."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

from django_async import joblog, policy, signals, tracing
from django_async.locks import Claimed
from django_async.outcomes import End, Outcome

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Witness:
    """Sees one attempt, from the moment when its job was claimed."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._span: Span | None = None

    def running(self, claimed: Claimed) -> AbstractContextManager[object]:
        """In this block the job runs: what is traced in it belongs to the job's span."""
        self._span = tracing.begin(claimed, self._using)
        return tracing.within(self._span)

    def started(self, claimed: Claimed) -> None:
        """In the job's transaction, right before its function is called."""
        signals.tell_started(claimed, self._using)

    def ended(self, outcome: Outcome, error: BaseException | None) -> None:
        """After the end of the transaction: how the attempt ended, and what it raised."""
        tracing.end(self._span, outcome, error)
        if isinstance(outcome, End):
            tell(outcome, self._using, error)


def tell(outcome: End, using: str, error: BaseException | None = None) -> None:
    """Tell the log and the application of an attempt whose end is committed."""
    with suppress(Exception):  # a filter of the application's raised: who cannot log cannot say so
        joblog.tell(outcome, error)
    signals.tell_end(outcome, using)
    if policy.is_task(outcome.hint.meta):
        from django_async.tasks import running

        running.tell_end(outcome, using, error)
