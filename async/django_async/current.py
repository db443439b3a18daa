"""The job that is running here and now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from forkpool import show

LONGEST_MESSAGE = 200
"""Characters of a message of progress that are shown."""

LARGEST = 2.0**63
"""What a number of progress does not reach: others keep it in a column."""

_ODD = {0: "\\x00", **dict.fromkeys(range(0xD800, 0xE000), "\ufffd")}
"""What no database holds, and what stands for it."""


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """The job by which the caller was called.

    Attributes:
        id: its primary key.
        using: the alias of the database that has it.
        name: the dotted path of its function.
        attempt: which attempt this is, from 1.
        queue: the name of its queue.
    """

    id: int
    using: str
    name: str
    attempt: int
    queue: str

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Show how far the job is, at once and to everybody: it is not part of its transaction.

        ``done`` and ``total`` are in whatever unit the job counts. Of the message, 200 characters
        are shown. It costs some microseconds, so it may be called at each step; others look a few
        times a second. When another job runs by now, nothing happens.

        Raises TypeError or ValueError for what is no number from 0 to 2 ** 63, or no text.
        """
        _check("done", done)
        if total is not None:
            _check("total", total)
        if not isinstance(message, str):
            raise TypeError(f"message must be a text, not {message!r:.80}.")
        if self is _latest:
            text = message.translate(_ODD)[:LONGEST_MESSAGE]
            show({"done": done, "total": total, "message": text})


_current: ContextVar[CurrentJob | None] = ContextVar("django_async_current_job", default=None)

_latest: CurrentJob | None = None
"""The same for threads that a job has started, and for those that an earlier one has left."""


def current_job() -> CurrentJob | None:
    """The running job, or None outside of jobs.

    Threads that a job starts do not know it: give it to them.
    """
    return _current.get()


def own_id(using: str) -> int | None:
    """The id of the running job, if it is one of this database's; else None."""
    job = current_job()
    return job.id if job and job.using == using else None


@contextmanager
def running(job: CurrentJob) -> Iterator[None]:
    """Within the block, the job is the current one."""
    global _latest
    token, before = _current.set(job), _latest
    _latest = job
    try:
        yield
    finally:
        _latest = before
        _current.reset(token)


def _check(what: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{what} must be a number, not {value!r:.80}.")
    if not 0 <= value < LARGEST:
        raise ValueError(f"{what} must be from 0 to 2 ** 63, not {value!r:.80}.")
