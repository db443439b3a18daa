"""Jobs for tests: what good jobs do, and what bad ones do."""

from __future__ import annotations

import faulthandler
import os
import signal
from typing import Any

from django.db import connection

from django_async import schedule
from suite.models import Account, Note


def note(text: str = "noted") -> str:
    """Have an effect, and return a result."""
    Note.objects.create(text=text)
    return text


def fail(text: str = "failed") -> None:
    """Have an effect, and fail."""
    Note.objects.create(text=text)
    raise ValueError(text)


def parent(children: int = 1) -> None:
    """Have an effect, and schedule others."""
    Note.objects.create(text="parent")
    for number in range(children):
        schedule(note, [f"child {number}"])


def die(signum: int | None = None) -> None:
    """Have an effect, and lose the process."""
    Note.objects.create(text="die")
    faulthandler.disable()  # pytest's would print where the process was
    os.kill(os.getpid(), signum or signal.SIGKILL)  # which not every system has


def leave(code: int = 0) -> None:
    """Have an effect, and leave without a word."""
    Note.objects.create(text="leave")
    os._exit(code)


def savepoints() -> list[str]:
    """Say in which savepoints it runs."""
    return list(connection.savepoint_ids)


def locks_by_cursor() -> int:
    """Read and lock rows one at a time."""
    return sum(1 for _ in Account.objects.select_for_update().iterator(chunk_size=1))


def nothing(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""
