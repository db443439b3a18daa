"""Jobs that are cancelled, looked at and paused while they run."""

from __future__ import annotations

import os
import select
import time

from django_async import current_job
from django_async.api import pause_queue
from suite.models import Note

LONG = 30.0
"""Seconds: more than any test waits."""

_begun = os.pipe()


def wait_for_begin() -> None:
    """In a thread of the process that forks the workers: wait until one of these jobs has begun.

    A copy of the process has its locks, but not the threads that hold them. A thread that waits for
    a pipe holds none.
    """
    os.read(_begun[0], 1)


def forget_begun() -> None:
    """For jobs that began in earlier tests nobody has waited."""
    while select.select([_begun[0]], [], [], 0)[0]:
        os.read(_begun[0], 1000)


def work(*, stubborn: bool = False) -> str:
    """Have an effect, tell the progress, and go on until somebody ends it."""
    Note.objects.create(text="begun")
    os.write(_begun[1], b".")
    job = current_job()
    assert job is not None
    job.progress(1, 2, "half")
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except BaseException:
            if not stubborn:
                raise
    return "nobody ended it"


def pause_own_queue() -> None:
    """Pause the default queue, and take a moment to do so."""
    pause_queue("default")
    time.sleep(0.1)


def fail_slowly() -> None:
    """Run for long enough to be seen, and fail."""
    Note.objects.create(text="begun")
    os.write(_begun[1], b".")
    time.sleep(1)
    raise ValueError("too slow")


class Slow(Exception):
    """Takes long to say what it is."""

    def __repr__(self) -> str:
        os.write(_begun[1], b".")
        time.sleep(LONG)
        return "Slow()"


def fail_and_hang() -> None:
    """Fail, with an error that hangs when it is to be recorded."""
    raise Slow
