"""A disk that is full: a small one in memory, which the suite mounts where it may."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from django_async.models import Job
from faults import jobs, ledger, work
from faults.elsewhere import moved
from faults.processes import flushing
from faults.scale import Figures, NotHere, Scale, Violation
from faults.scenario import scenario
from faults.world import World, create

MEGABYTE = 1 << 20
SIZE = 16 * MEGABYTE


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Within the block, there is a small disk below the folder."""
    place = folder / "disk"
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", b"").decode().strip() or str(error)
        raise NotHere(f"no disk can be mounted here: {reason}") from None
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def nearly_full(disk: Path, rest: int) -> Iterator[None]:
    """Within the block, so many bytes are free on the disk."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - rest))
    try:
        yield
    finally:
        ballast.unlink()


@scenario(14, "database-disk-full", ("sqlite",))
def fill_database(world: World, scale: Scale, rng: Random) -> Figures:
    """The disk with the database is full: no job succeeds in vain, and all go on when it is not."""
    failed = 0
    for _ in range(scale.count(1, 20)):
        with small_disk(world.folder) as disk, _moved_to(disk):
            create()
            numbers = [[number, rng.randrange(10_000, 100_000)] for number in range(100)]
            world.schedule(work.fill, numbers)
            with nearly_full(disk, rest=MEGABYTE), world.flush() as flush:
                flush.end(1)
                failed += _must_be_stuck()
            world.drain()
            world.check()
    return {"jobs that found the disk full": failed}


@contextmanager
def _moved_to(disk: Path) -> Iterator[None]:
    file = str(disk / "queue.sqlite3")
    with moved({"NAME": file}, {"SQLITE_NAME": file}):
        yield


def _must_be_stuck() -> int:
    """Some jobs could not be executed, and what is marked as executed has its effect."""
    executed = Job.objects.executed().count()
    entered = ledger.entries()
    if executed != entered:
        raise Violation(f"{executed} jobs are executed, and {entered} have an effect")
    if not (stuck := Job.objects.pending().count()):
        raise Violation("all jobs were executed: the disk was not full")
    return stuck


@scenario(14, "log-disk-full")
def fill_log(world: World, scale: Scale, rng: Random) -> Figures:
    """The disk with the output is full: no job is lost, and the exit code is none of success."""
    codes = set()
    with small_disk(world.folder) as disk:
        for number in range(scale.count(1, 20)):
            world.schedule(jobs.enter, [[number] for number in range(300)])
            output, rest = disk / f"{number}.log", rng.randrange(4096, 16384)
            with nearly_full(disk, rest), flushing(output, "-v", "2") as flush:
                codes.add(flush.end(1, 120))
            world.drain()
    return {"exit codes": " ".join(map(str, sorted(codes)))}
