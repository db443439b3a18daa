"""Jobs that enter themselves in the ledger, and then do what a scenario needs."""

from __future__ import annotations

import time

from faults import ledger


def enter(number: int) -> int:
    """Do nothing else."""
    ledger.enter()
    return number


def sleep(number: int, seconds: float) -> int:
    """Hold the transaction, between two statements."""
    ledger.enter()
    time.sleep(seconds)
    return number
