"""How a drain goes on."""

from __future__ import annotations

from django_async.models import Job
from faults import ledger
from faults.processes import Flush, wait_until
from faults.scale import Violation


def wait_for_starts(flush: Flush, more: int) -> float:
    """Wait until so many more attempts have begun; the seconds that it took. A flush that ends
    before has given up."""
    known = len(ledger.starts())
    took = wait_until(
        lambda: len(ledger.starts()) >= known + more or flush.ended, f"{more} more starts"
    )
    if len(ledger.starts()) < known + more:
        raise Violation(f"flush_queue ended in the middle of its pass:\n{flush.tail}")
    return took


def must_have_gone_on(flush: Flush) -> None:
    """What happens to single jobs and sessions is no reason to end a pass while jobs are due."""
    if due := Job.objects.due().count():
        raise Violation(f"the pass ended with {due} jobs due:\n{flush.tail}")
