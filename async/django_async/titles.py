"""What a worker's process is called: it says which job it runs, where setproctitle is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

setproctitle: Callable[[str], object] | None
try:
    from setproctitle import setproctitle
except ImportError:
    setproctitle = None

IDLE = "django-async: idle"

_set: Callable[[str], object] | None = None
"""Nothing but a worker is renamed."""


def begin() -> None:
    """In a worker: it has no job yet."""
    global _set
    _set = setproctitle
    if _set is not None:
        _set(IDLE)


def shown(job_id: int, name: str) -> AbstractContextManager[None]:
    """Within the block, the process runs this job. (Its arguments are nobody's business.)"""
    return nullcontext() if _set is None else _titled(_set, f"django-async: job {job_id} {name}")


@contextmanager
def _titled(set_title: Callable[[str], object], title: str) -> Iterator[None]:
    set_title(title)
    try:
        yield
    finally:
        set_title(IDLE)
