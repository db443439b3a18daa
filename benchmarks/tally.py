"""Who has run how many jobs, in memory that all processes share: seeing a job done costs nothing.

A process that runs jobs has a file of its own, so that none waits for another; the driver reads
them all. All times are those of the machine's monotonic clock, which its processes share.
"""

# Python 3.6 runs this file as well, for a peer that needs it: no newer syntax.

import mmap
import os
import struct
import time
from pathlib import Path
from typing import NamedTuple

SLOT = struct.Struct("<Qdd")
"""Jobs done, the start of the first, the end of the last."""
PROBE = struct.Struct("<d")
PROBES = 4096

_open: "dict[int, mmap.mmap]" = {}


def began() -> None:
    """A job begins in this process."""
    slot = _slot()
    count, first, last = SLOT.unpack_from(slot)
    if not first:
        SLOT.pack_into(slot, 0, count, time.monotonic(), last)


def ended() -> None:
    """A job has ended in this process."""
    slot = _slot()
    count, first, _ = SLOT.unpack_from(slot)
    SLOT.pack_into(slot, 0, count + 1, first, time.monotonic())


def done() -> int:
    """How many jobs this process has done."""
    return int(SLOT.unpack_from(_slot())[0])


def stamp(probe: int, moment: float) -> None:
    """The job with this number has begun to run at this moment."""
    with Path(_folder(), "probes").open("r+b") as file:
        file.seek(probe * PROBE.size)
        file.write(PROBE.pack(moment))


class Total(NamedTuple):
    """What all processes together have done since the tally was cleared."""

    jobs: int
    first: float
    last: float
    processes: int


def clear() -> None:
    """Begin anew. No job may run meanwhile."""
    for path in _slots():
        with path.open("r+b") as file:
            file.write(bytes(SLOT.size))
    Path(_folder(), "probes").write_bytes(bytes(PROBES * PROBE.size))


def read() -> Total:
    """The sum of all processes."""
    written = (path.read_bytes() for path in _slots())
    slots = (SLOT.unpack(data) for data in written if len(data) == SLOT.size)
    busy = [slot for slot in slots if slot[0]]
    return Total(
        jobs=sum(slot[0] for slot in busy),
        first=min((slot[1] for slot in busy), default=0.0),
        last=max((slot[2] for slot in busy), default=0.0),
        processes=len(busy),
    )


def probe(number: int) -> float:
    """When the job with this number ran; 0 if it has not yet."""
    with Path(_folder(), "probes").open("rb") as file:
        file.seek(number * PROBE.size)
        return float(PROBE.unpack(file.read(PROBE.size))[0])


def _slots() -> "list[Path]":
    return list(_folder().glob("*.slot"))


def _folder() -> Path:
    return Path(os.environ["BENCHMARK_TALLY"])


def _slot() -> mmap.mmap:
    """This process's own memory; a fork gets a new one."""
    pid = os.getpid()
    if pid not in _open:
        path = _folder() / f"{pid}.slot"
        with path.open("a+b") as file:
            file.write(bytes(SLOT.size - file.tell()))
            file.flush()
            _open.clear()
            _open[pid] = mmap.mmap(file.fileno(), SLOT.size)
    return _open[pid]
