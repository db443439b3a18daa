"""Jobs that leave something behind in their worker's process, and jobs that look for it."""

from __future__ import annotations

import contextvars
import faulthandler
import os
import signal
import tempfile
from collections.abc import Callable
from typing import Any

from django.core.cache import cache, caches
from django.db import connection, transaction
from django.utils import timezone, translation

from suite.models import Note

_sessions: list[Any] = []
_variable: contextvars.ContextVar[str] = contextvars.ContextVar("leak", default="")


def look() -> dict[str, Any]:
    """What a job can see of the process that another one may have changed."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "language": translation.get_language(),
        "zone": timezone.get_current_timezone_name(),
        "directory": _directory(),
        "umask": mask,
        "signals": [repr(signal.getsignal(one)) for one in sorted(signal.valid_signals())],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "variable": _variable.get(),
        "alarm": signal.getitimer(signal.ITIMER_PROF) != (0.0, 0.0),
    }


def _directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "gone"


def changes_the_look(leak: Callable[[], object]) -> bool:
    """Whether a leak can be seen: tried in a copy of this process."""
    before, reader = look(), os.pipe()
    if not (copy := os.fork()):
        leak()
        os.write(reader[1], b"1" if look() != before else b"0")
        os._exit(0)
    os.close(reader[1])
    os.waitpid(copy, 0)
    with os.fdopen(reader[0], "rb") as answer:
        return answer.read() == b"1"


def activate_language() -> None:
    translation.activate("fr")


def activate_zone() -> None:
    timezone.activate("Asia/Kathmandu")


def change_directory() -> None:
    os.chdir(tempfile.gettempdir())


def remove_directory() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def change_umask() -> None:
    os.umask(0o111)


def change_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: None)


def register_faulthandler() -> None:
    """Have a signal heeded below what Python knows of, and change others, as a job may."""
    faulthandler.register(signal.SIGUSR2, open(os.devnull, "w"))  # noqa: SIM115 - it stays open
    change_signals()


def send_the_registered_signal() -> None:
    """Which ends the process where nobody heeds it."""
    os.kill(os.getpid(), signal.SIGUSR2)


def block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])


def set_context_variable() -> None:
    _variable.set("leak")


def keep_alarm() -> None:
    signal.signal(signal.SIGPROF, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_PROF, 1000.0)


def execute_and_tell_session(sql: str) -> int:
    """Execute a statement; which session this is."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
    _sessions.append(connection.connection)  # kept, so that no other one gets its place in memory
    return id(connection.connection)


def compose_and_tell_session(sql: str) -> int:
    """The same with a statement that psycopg has composed."""
    from psycopg.sql import SQL, Composed

    return execute_and_tell_session(Composed([SQL(sql)]))  # type: ignore[arg-type]


def execute_past_django(sql: str) -> None:
    """Execute a statement where nobody sees it."""
    connection.connection.cursor().execute(sql)


def set_autocommit_off(alias: str) -> None:
    """Leave a database so that transactions begin by themselves there, and none is open."""
    transaction.set_autocommit(False, using=alias)
    Note.objects.using(alias).create(text="committed")
    transaction.commit(using=alias)


def leave_transaction_open(alias: str) -> None:
    """Enter a transaction of another database, write in it, and never leave it."""
    transaction.atomic(using=alias).__enter__()
    Note.objects.using(alias).create(text="left open")


def write(alias: str) -> None:
    Note.objects.using(alias).create(text="written")


def use_cache() -> None:
    """Use a cache that counts how often it is closed."""
    closed: list[int] = []
    cache.set("closed", 0)
    backend: Any = caches["default"]
    before = backend.close

    def close(**kwargs: Any) -> None:
        closed.append(1)
        before(**kwargs)

    backend.close, backend.closed = close, closed


def count_closed_caches() -> int:
    """How often the cache was closed since."""
    closed: list[int] = caches["default"].closed  # type: ignore[attr-defined]
    return len(closed)


def count_queries() -> int:
    """How many statements DEBUG keeps at the end of this one."""
    Note.objects.count()
    return len(connection.queries)
