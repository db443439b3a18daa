"""The job that is running here and now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """A job inside whose transaction the caller stands."""

    id: int
    using: str


_current: ContextVar[CurrentJob | None] = ContextVar("django_async_current_job", default=None)


def current() -> CurrentJob | None:
    """The running job, or None outside of jobs."""
    return _current.get()


@contextmanager
def running(job_id: int, using: str) -> Iterator[None]:
    """Within the block, the job is the current one."""
    token = _current.set(CurrentJob(job_id, using))
    try:
        yield
    finally:
        _current.reset(token)
