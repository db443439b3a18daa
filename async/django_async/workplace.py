"""A worker's process as its first job found it, for all that follow: nothing leaks into the next.

What a job can leave behind is put back after it: language and time zone, context variables, working
directory, umask, timers, signal handlers, the queries that DEBUG keeps. Caches are closed, as at
the end of a request. (Django keeps no connection to a mail server open.) A connection in a state
that a next job could not expect is closed: within a transaction, broken, or with a setting, a lock
or a temporary table of the session, which is told by its statements. Statements that were sent past
Django, through a cursor of the driver, cannot be told.
"""

from __future__ import annotations

import contextvars
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from itertools import compress
from operator import is_not
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import caches, close_caches
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils import timezone, translation
from django.utils.module_loading import import_string

from django_async.sessions import end, forget_transaction
from django_async.trouble import IDLE

logger = logging.getLogger(__name__)

T = TypeVar("T")

_OF_THE_SESSION = re.compile(
    r"""
    (?: \A | ; ) (?: \s | /\* [\s\S]*? \*/ | -- .* \n )* (?:
        SET \s+ (?! LOCAL\b | TRANSACTION\b | CONSTRAINTS\b )
      | RESET\b | EXECUTE \s+ IMMEDIATE\b
      | LISTEN\b | PREPARE\b | DECLARE\b | ATTACH\b | USE\b | HANDLER\b
      | PRAGMA \s+ [\w.]+ \s* =
      | LOCK \s+ TABLES?
      | CREATE \s+ (?: OR \s+ REPLACE \s+ )? (?: GLOBAL \s+ | LOCAL \s+ )? TEMP
    )
    | \b set_config \s* \( (?! \s* 'idle_in_transaction_session_timeout' )
    | \b INTO \s+ (?: GLOBAL \s+ | LOCAL \s+ )? TEMP (?: ORARY )? \b
    | \b pg_settings\b
    | \b pg_ (?: try_ )? advisory_lock
    | \b (?: GET_LOCK | RELEASE_ALL_LOCKS ) \s* \(
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Statements whose effect outlasts the transaction. (The claim's own ``set_config`` does not.)"""

_SET_LOCAL = re.compile(r"\bSET\s+LOCAL\b", re.IGNORECASE)
"""Which is of the session as well, on MariaDB and MySQL."""

_in_c: Any = import_module("_signal") if "_signal" in sys.builtin_module_names else signal
"""What wraps these functions makes an enumeration's member of each signal, which takes ten times as
long: after each job, for some sixty signals."""

_TIMERS = [
    getattr(signal, name)
    for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
    if hasattr(signal, name)
]

_LONGEST_KEPT = 2000
"""Characters of a statement that is kept together with what was found in it."""


def prepare() -> None:
    """In the parent, before the first fork: load what each worker would load for itself."""
    timezone.get_default_timezone()
    for options in settings.CACHES.values():
        with suppress(Exception):  # a broken one is for the job that uses it
            import_string(options["BACKEND"])


class Workplace:
    """This process, as it is now."""

    def __init__(self) -> None:
        self._directory = os.getcwd()
        self._umask = _read_umask()
        self._handlers = _read_handlers()
        self._language: str | None = translation.get_language()
        self._zone = timezone.get_current_timezone_name()
        self._soiled: set[str] = set()
        _open_caches()
        steps = [self._put_process_back, self._put_handlers_back, close_caches]
        steps += [self._put_locale_back] if _locale_leaks() else []
        self._steps = [*steps, self._leave_connections]
        for connection in connections.all():
            connection.execute_wrappers.append(self._look_at)
        connection_created.connect(self._is_new, dispatch_uid="django_async.workplace")

    def run(self, call: Callable[..., T], *args: Any) -> T:
        """Call it, and tidy up."""
        try:
            return contextvars.copy_context().run(call, *args)
        finally:
            self.tidy_up()

    def tidy_up(self) -> None:
        """Put back and close whatever is not as it was. What cannot be put back is logged: it is no
        fault of the next job's."""
        for step in self._steps:
            try:
                step()
            except Exception:
                logger.exception("A job has left something behind that cannot be put back.")

    def _put_process_back(self) -> None:
        os.umask(self._umask)
        os.chdir(self._directory)

    def _put_handlers_back(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        found = map(_in_c.getsignal, self._handlers)
        # No others: below what Python knows, faulthandler may have put its own.
        for signum in compress(self._handlers, map(is_not, found, self._handlers.values())):
            signal.signal(signum, self._handlers[signum])
        _in_c.pthread_sigmask(signal.SIG_SETMASK, ())

    def _put_locale_back(self) -> None:
        if translation.get_language() != self._language:
            if self._language is None:
                translation.deactivate_all()
            else:
                translation.activate(self._language)
        if timezone.get_current_timezone_name() != self._zone:
            timezone.deactivate()

    def _leave_connections(self) -> None:
        for connection in connections.all(initialized_only=True):
            connection.queries_log.clear()
            if connection.alias in self._soiled or is_left_open(connection):
                forget_transaction(connection)
                end(connection)
        self._soiled.clear()

    def _look_at(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        connection = context["connection"]
        if _is_of_the_session(_text(sql, connection), connection.vendor):
            self._soiled.add(connection.alias)
        return execute(sql, params, many, context)

    def _is_new(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        """What Django sets itself when it connects is as it should be."""
        self._soiled.discard(connection.alias)


def is_watched(connection: BaseDatabaseWrapper) -> bool:
    """Whether somebody else than a workplace looks at the connection's statements."""
    wrappers = connection.execute_wrappers
    watches = any(getattr(one, "__func__", None) is not Workplace._look_at for one in wrappers)
    return connection.queries_logged or watches


def may_be_bypassed(connection: Any) -> bool:
    """Whether nobody misses what goes past Django's cursors: neither somebody who looks at the
    connection's statements, nor Django, which may be about to check the session first."""
    is_checked = connection.health_check_done or not connection.health_check_enabled
    return is_checked and not is_watched(connection)


def _text(sql: Any, connection: BaseDatabaseWrapper) -> str:
    if isinstance(sql, str):
        return sql
    return sql.as_string(connection.connection) if hasattr(sql, "as_string") else repr(sql)


def _is_of_the_session(sql: str, vendor: str) -> bool:
    # Statements come again and again, and looking one up is ten times faster than reading it.
    return _read(sql, vendor) if len(sql) <= _LONGEST_KEPT else _search(sql, vendor)


def _search(sql: str, vendor: str) -> bool:
    is_set = vendor == "mysql" and _SET_LOCAL.search(sql)
    return bool(is_set or _OF_THE_SESSION.search(sql))


_read = lru_cache(maxsize=1000)(_search)


def is_left_open(connection: BaseDatabaseWrapper) -> bool:
    """Whether there is a transaction, what is left of one, or one that begins by itself."""
    if connection.connection is None:
        return connection.in_atomic_block or connection.closed_in_transaction
    if connection.in_atomic_block or connection.needs_rollback or not connection.autocommit:
        return True
    if connection.vendor == "postgresql":
        return bool(connection.connection.info.transaction_status != IDLE)
    return connection.vendor == "sqlite" and bool(connection.connection.in_transaction)


def _open_caches() -> None:
    """Make the caches here, for all jobs: what a job makes itself goes with its context."""
    for alias in settings.CACHES:
        with suppress(Exception):  # a broken one is for the job that uses it
            caches[alias]


def _locale_leaks() -> bool:
    """Whether what a job activates outlives its context, which depends on asgiref's version."""
    seen = []

    def look_from_elsewhere() -> None:
        with timezone.override(timezone.get_fixed_timezone(1)):
            seen.append(here.run(timezone.get_current_timezone_name))

    here = contextvars.copy_context()
    before = timezone.get_current_timezone_name()
    contextvars.copy_context().run(look_from_elsewhere)
    return seen != [before]


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _read_handlers() -> dict[int, Any]:
    return {
        signum: handler
        for signum in _in_c.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
        if (handler := _in_c.getsignal(signum)) is not None
    }
