"""Processes that freeze, as on a host that is suspended, and go on later as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

from django.db import connection

from django_async.models import Error, Job
from faults import ledger, probes, work
from faults.processes import Flush, wait_until
from faults.progress import wait_for_starts
from faults.scale import Figures, Scale, Violation, spread
from faults.scenario import scenario
from faults.world import World

TIMEOUT = 0.5
GRACE = 0.3
"""Seconds that a job has, and that lie between its timeout and each signal to its worker."""

PATIENCE = 5.0
"""Seconds after which what should follow the timeout hangs."""


@scenario(6, "frozen")
def freeze(world: World, scale: Scale, rng: Random) -> Figures:
    """A worker freezes beyond its job's timeout, alone or with its parent: nothing stale is
    committed when they go on."""
    killed, freed = [], []
    for number in range(scale.count(2, 20)):
        deaf = bool(number % 2)
        killed.append(_freeze_worker(world, world.folder / f"never-{number}", deaf))
        freed += _freeze_both(world, world.folder / f"gate-{number}", deaf)
    return {**spread("frozen worker gone", killed), **(spread("row free", freed) if freed else {})}


def _freeze_worker(world: World, gate: Path, deaf: bool) -> float:
    """The parent lives and ends the frozen worker; the seconds until then."""
    with _holding(world, gate, deaf) as (job, worker, flush):
        os.kill(worker, signal.SIGSTOP)
        began = time.monotonic()
        flush.end(1, within=TIMEOUT + 2 * GRACE + PATIENCE)
        took = time.monotonic() - began
    errors = list(Error.objects.filter(job=job).values_list("exception", flat=True))
    if len(errors) != 1 or not errors[0].startswith("TimeLimitExceeded"):
        raise Violation(f"the job of a frozen worker has these errors: {errors}")
    return took


def _freeze_both(world: World, gate: Path, deaf: bool) -> list[float]:
    """Nobody acts but the database: where that frees the row, somebody else runs the job. The
    seconds until the row is free."""
    with _holding(world, gate, deaf) as (job, worker, flush), ExitStack() as stack:
        for pid in (flush.pid, worker):
            os.kill(pid, signal.SIGSTOP)
            stack.callback(_thaw, pid)
        gate.touch()
        freed = _run_elsewhere(world, job) if connection.vendor == "postgresql" else []
        if not freed:
            _must_stay_locked(world, job)
        # The worker first: it gets its chance to commit before its parent can do anything.
        _thaw(worker)
        time.sleep(0.1)
        _thaw(flush.pid)
        flush.end(0, 1)
    if freed and Error.objects.filter(job=job).exists():
        raise Violation(f"the executed job {job} has an error: {Error.objects.get(job=job)}")
    return freed


@contextmanager
def _holding(world: World, gate: Path, deaf: bool) -> Iterator[tuple[int, int, Flush]]:
    """Within the block, a job waits for the gate: the job, its worker and their flush_queue."""
    options = json.dumps({"TIMEOUT_GRACE": GRACE})
    meta = {"timeout": TIMEOUT, "max_attempts": 1}
    [job] = world.schedule(work.hold, [[str(gate), deaf]], meta=meta)
    with world.flush(workers=2, FAULTS_ASYNC=options) as flush:
        wait_for_starts(flush, 1)
        yield job, ledger.starts()[-1].pid, flush


def _run_elsewhere(world: World, job: int) -> list[float]:
    """The database ends the frozen session, and another flush_queue runs the job."""
    took = wait_until(lambda: probes.is_free(job, 0), "the row of a frozen worker", within=PATIENCE)
    with world.flush(name="elsewhere") as other:
        other.end(0)
    if Job.objects.get(pk=job).state != "executed":
        raise Violation(f"nobody else could run the job of a frozen worker:\n{other.tail}")
    return [took]


def _must_stay_locked(world: World, job: int) -> None:
    """Nobody else gets the row, so that nothing can become stale."""
    with world.flush(name="elsewhere") as other:
        with suppress(Violation):  # on SQLite it waits for its turn to write
            other.end(0, within=TIMEOUT + 2 * GRACE)
        if len([start for start in ledger.starts() if start.job == job]) > 1:
            raise Violation("a job was run whose frozen worker still holds its row")


def _thaw(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
