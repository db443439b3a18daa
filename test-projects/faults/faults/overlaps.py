"""Jobs that run twice at the same time, noticed by a lock that the kernel drops with a process."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from faults.place import FOLDER

LAST_MOMENT = 0.005
"""Seconds in which a process that dies closes one of its files after the other."""


@contextmanager
def watched(job: int) -> Iterator[None]:
    """Within the block, the job runs here; note it if it runs elsewhere as well."""
    file = os.open(FOLDER / f"runs-{job}", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(file):
            (FOLDER / f"overlap-{job}").touch()
        yield
    finally:
        os.close(file)


def found() -> list[int]:
    """The jobs that did."""
    return sorted(int(path.name.partition("-")[2]) for path in FOLDER.glob("overlap-*"))


def forget() -> None:
    for pattern in ("overlap-*", "runs-*"):
        for path in FOLDER.glob(pattern):
            path.unlink()


def _lock(file: int) -> bool:
    end = time.monotonic() + LAST_MOMENT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.001)
        else:
            return True
