"""The suite itself: what it looks for, it finds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from django.db import connection, connections, transaction

from django_async.models import Job
from faults import jobs, ledger, probes
from faults.models import Entry
from faults.processes import survivors, wait_until
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.scenarios import priority
from faults.scenarios.priority import Run
from faults.world import World


@scenario(0, "harness")
def find_what_is_wrong(world: World, scale: Scale, rng: Random) -> Figures:
    """Tables that were falsified, a process and a transaction left behind, and jobs that began too
    early are all found."""
    kept, doubled, lost = world.schedule(jobs.enter, [[number] for number in range(3)])
    _expect(ledger.problems(), f"neither ended nor failed: {kept}, {doubled}, {lost}")
    world.drain()
    _expect(ledger.problems())
    _falsify(doubled, lost)
    _expect(
        ledger.problems(),
        f"executed more than once: {doubled}",
        f"executed, and without effect: {lost}",
        "not executed, and with effect: 0",
    )
    _find_process()
    _find_transaction(kept)
    _find_overtakings()
    world.empty()
    return {}


def _falsify(doubled: int, lost: int) -> None:
    Entry.objects.filter(job=lost).delete()
    Entry.objects.create(job=doubled, pid=1, at=0.0)
    Entry.objects.create(job=0, pid=1, at=0.0)


def _find_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as left:
        wait_until(survivors, "a process to be seen")
        _expect(survivors(), left.pid)
        left.communicate(b"\n")


def _find_transaction(job: int) -> None:
    """The other way to the same database holds a row, or is the one that writes."""
    _expect([probes.is_free(job, 1)], True)
    with transaction.atomic(using="persistent"):
        Job.objects.using("persistent").filter(pk=job).update(priority=0)
        _expect([len(probes.open_transactions())], 1)
        _expect([probes.is_free(job, 1)], False)
    _expect(probes.open_transactions())
    _expect([probes.is_free(job, 0)], True)
    connections.close_all()
    connection.ensure_connection()


def _find_overtakings() -> None:
    def at(second: float) -> datetime:
        return datetime.fromtimestamp(second, UTC)

    urgent = Run(9, at(1), at(3))
    early, late, same = Run(5, at(0), at(1.04)), Run(5, at(0), at(2)), Run(9, at(1), at(2.5))
    _expect(priority.overtakings([urgent, early, same]))
    _expect(priority.overtakings([early, late, urgent, same]), timedelta(seconds=1))


def _expect(found: Sequence[object], *expected: object) -> None:
    if list(found) != list(expected):
        raise Violation(f"the suite found {list(found)}, and not {list(expected)}")
