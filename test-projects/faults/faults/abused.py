"""The jobs of the tests that abuse their transaction, entered in the ledger."""

from __future__ import annotations

from typing import Any

from django_async import current_job
from faults import ledger
from suite import abuse


def take(name: str, *arguments: Any) -> Any:
    """Have an effect, and then the abuse of this name."""
    ledger.enter()
    return getattr(abuse, name)(*arguments)


def take_unentered(name: str) -> Any:
    """For an abuse that commits: what comes before it stays, although the job fails."""
    running = current_job()
    assert running is not None
    ledger.note_start(running.id)
    return getattr(abuse, name)()
