"""Jobs that talk to the database for a while, fill it, or schedule others."""

from __future__ import annotations

import signal
from datetime import timedelta

from django_async import schedule
from faults import jobs, ledger, probes
from suite import abuse
from suite.models import Note


def converse(number: int, statements: int) -> int:
    """Hold the transaction over so many statements."""
    ledger.enter()
    for _ in range(statements):
        probes.ask("SELECT COUNT(*) FROM faults_entry WHERE job = %s", number)
    return number


def fill(number: int, size: int) -> int:
    """Write so many bytes."""
    ledger.enter()
    Note.objects.create(text="x" * size)
    return number


def hold(gate: str, deaf: bool) -> None:
    """Hold the transaction until the file exists; a deaf one hears no limit of its time."""
    ledger.enter()
    if deaf:
        signal.setitimer(signal.ITIMER_REAL, 0)
    abuse.wait_for(gate)


def plan(delays: list[float]) -> list[int]:
    """Schedule jobs for later, by the clock and the settings of this process."""
    ledger.enter()
    laters = [timedelta(seconds=delay) for delay in delays]
    return [
        schedule(jobs.enter, [number], run_after=later).pk for number, later in enumerate(laters)
    ]


def outlast(number: int, gate: str) -> int:
    """The first time, hold the transaction until the file exists; of three, one does so inside of a
    statement of 14 s."""
    ledger.enter()
    if ledger.is_first_start():
        if number % 3 == 2:
            probes.ask("SELECT PG_SLEEP(14)")
        abuse.wait_for(gate)
    return number
