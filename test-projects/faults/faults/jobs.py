"""Jobs that enter themselves in the ledger, and then do what a scenario needs."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from django.db import connection, transaction

from django_async import current_job, schedule
from django_async.models import Job
from faults import injection, ledger, overlaps
from faults.processes import children

LONG = 4.0
"""Seconds of the statement that a worker is killed in."""

LONG_STATEMENT = {
    "postgresql": "SELECT PG_SLEEP(%s)",
    "mysql": "SELECT SLEEP(%s)",
    # SQLite cannot sleep: it counts, for about as long.
    "sqlite": "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number LIMIT %s"
    " * 5000000) SELECT COUNT(*) FROM number",
}


def enter(number: int) -> int:
    """Do nothing else."""
    ledger.enter()
    return number


def sleep(number: int, seconds: float) -> int:
    """Hold the transaction, between two statements."""
    ledger.enter()
    time.sleep(seconds)
    return number


def run_alone(number: int, seconds: float) -> int:
    """Take a while, outside of any transaction, and have the effect at its end."""
    running = current_job()
    assert running is not None
    with overlaps.watched(running.id):
        ledger.note_start(running.id)
        time.sleep(seconds)
        ledger.enter()
    return number


def stay(number: int, inside: bool, leaves: bool) -> int:
    """Hold the transaction for long, between two statements or inside of one; before that, perhaps
    leave a process behind that keeps the connection's socket open."""
    ledger.enter()
    if leaves:
        _leave_a_process()
    if inside:
        with connection.cursor() as cursor:
            cursor.execute(LONG_STATEMENT[connection.vendor], [LONG])
    else:
        time.sleep(LONG)
    return number


def _leave_a_process() -> None:
    """A copy of this process, which has all its descriptors, and does not end by itself."""
    if os.fork() == 0:
        time.sleep(3600)
        os._exit(0)


def pass_all_steps(number: int) -> int:
    """Come by every step at which a death can be arranged."""
    ledger.enter()
    injection.reach("in the job")
    transaction.on_commit(lambda: injection.reach("in a commit hook"))
    return number


def kill_everybody(number: int) -> None:
    """Kill the parent, the other workers and itself."""
    ledger.enter()
    parent = os.getppid()
    others = [pid for pid in children(parent) if pid != os.getpid()]
    for pid in (parent, *others, os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pause(number: int) -> int:
    """Hold the transaction for 0 to 10 ms, depending on the number."""
    return sleep(number, number * 7 % 11 / 1000)


def fail(number: int) -> int:
    """Fail the first time."""
    ledger.enter()
    if _is_first():
        raise ValueError(f"job {number} fails")
    return number


def die(number: int) -> int:
    """Die the first time."""
    ledger.enter()
    if _is_first():
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def dawdle(number: int) -> int:
    """Take a second the first time, which is too long."""
    ledger.enter()
    if _is_first():
        time.sleep(1)
    return number


def have_children(number: int, depth: int) -> int:
    """Schedule two jobs of its kind, down to a depth."""
    ledger.enter()
    for _ in range(2 if depth else 0):
        schedule(have_children, [number, depth - 1])
    return number


def _is_first() -> bool:
    """Whether this is the job's first attempt."""
    running = current_job()
    assert running is not None
    return Job.objects.filter(pk=running.id, attempts=0).exists()
