"""The project's ``manage.py`` as processes of their own, on the database of the running test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, connections

MANAGE = Path(__file__).parents[1] / "manage.py"
BARE = Path(__file__).parents[1] / "bare.py"
"""The same on a system without POSIX."""


@contextmanager
def manage(
    *arguments: str,
    script: Path = MANAGE,
    before: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[subprocess.Popen[str]]:
    """``manage.py`` with these arguments, in a process group of its own, killed at the end.

    ``settings`` are the queue's: what ``ASYNC`` says there.
    """
    process = subprocess.Popen(
        [*before, sys.executable, "-W", "error", str(script), *arguments],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "suite.beside_settings",
            "TEST_DATABASE": str(connection.settings_dict["NAME"]),
            "TEST_DATABASE_OTHER": _name_of_other(),
            "TEST_ASYNC": json.dumps(settings or {}),
            **(environment or {}),
        },
        text=True,
        start_new_session=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def first_process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The same as PID 1 of a namespace of process ids; that is the only child of the process."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with manage(*arguments, before=unshare) as process:
        yield process


def _name_of_other() -> str:
    """It is there only if a test of this run needs it, and Django's checks visit all of them."""
    other = connections["other"].settings_dict
    is_there = other["NAME"] == other["TEST"]["NAME"]
    return str(other["NAME"] if is_there else connection.settings_dict["NAME"])


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def has_heeded_signals(pid: int) -> bool:
    """Whether the process has taken in the signals sent to it, and sleeps again (Linux tells)."""
    file = Path(f"/proc/{pid}/status")
    if not file.exists():
        return True
    fields = dict(line.split(":\t", 1) for line in file.read_text().splitlines())
    pending = any(int(fields[name], 16) for name in ("SigPnd", "ShdPnd"))
    return not pending and fields["State"].startswith("S")
