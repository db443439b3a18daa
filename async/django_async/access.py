"""The parent's way to the database, which may be away, silent or busy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import inf
from typing import Any, TypeVar

from django.apps import apps
from django.db import Error as DriverError
from django.db import connections

from django_async import trouble
from django_async.errors import StopNow
from django_async.outage import Outage
from django_async.turn import impatient
from forkpool import TaskTimeout, soft_time_limit

logger = logging.getLogger(__name__)

LONGEST = 30.0
"""Seconds that the database has for what the parent asks of it, none of which waits for a lock;
then the connection is given up. mysqlclient is deaf to timers: sessions.bounded_waits()."""

LONGEST_BESIDE_OTHERS = 5.0
"""The same where the jobs of other databases have to wait meanwhile."""

IMPATIENCE = 0.1
"""Seconds for which SQLite's writer may be somebody else then, until that is a conflict: after the
others' turn it is tried again."""

LONG = 1.0
"""Seconds that a try may take which fails, until the next one is left to somebody else."""

RELAPSE, SHARE = 60.0, 5
"""Seconds after an answer to somebody else, within which a try of the parent's own that takes long
is followed by as much more of a pause: no more than this part of its time goes into a database that
answers others, and not the parent."""

T = TypeVar("T")


class Access:
    """What needs the database goes through here, and is put off while that is away.

    Attributes:
        busy: whether a statement is under way: an operator's second signal may interrupt it.
        outage: whether the database is away.
        is_silent: whether somebody else is to try first whether it answers.
        is_beside_others: whether the jobs of other databases wait while this one is tried.
    """

    def __init__(self, using: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connection = connections[using]
        self._session: Any = None
        self._lacks_tables = self._refuses = False
        self.busy = False
        self.outage = Outage(clock, using)
        self.is_silent = False
        self._longest = LONGEST
        self.is_beside_others = False
        self._rests_until = 0.0
        self._answered = -inf

    def beside_others(self) -> None:
        """The jobs of other databases wait while this one is tried: after a try that took long it
        is silent until it has_answered()."""
        self._longest, self.is_beside_others = LONGEST_BESIDE_OTHERS, True

    def has_answered(self) -> None:
        """Somebody else had an answer: it is to be tried again."""
        self.is_silent, self._answered = False, self._clock()
        self.outage.may_be_over()

    def rest(self, seconds: float) -> None:
        """Nobody is to try it for so long."""
        self._rests_until = self._clock() + seconds

    @property
    def rests(self) -> bool:
        """Whether nobody is to try it now."""
        return self._clock() < self._rests_until

    @property
    def pause(self) -> float:
        """Seconds until it is to be tried again, while it is away."""
        return inf if self.is_silent else self.outage.pause

    def use(self, act: Callable[[], T], limit: float | None = LONGEST) -> T | None:
        """Do something that needs the database; None if that could not be had. Without a limit it
        must not wait.

        Raises what is neither an outage nor a conflict with somebody else's transaction, unless
        there are others, whose service it is not to end; and StopNow, if the operator has cut it
        short: whether the database is there is not known then.
        """
        try:
            return self._use(act, limit)
        except DriverError as error:
            if not (self.is_beside_others or trouble.is_read_only(error)):
                raise
            self.refused(str(error))
        return None

    def got_no_answer(self, error: str, seconds: float) -> None:
        """A worker has waited for it for so long, and in vain."""
        self._connection.close()
        self.outage.note(error)
        self._note_length(seconds)

    def refused(self, error: str) -> None:
        """It is there, and of no use: as good as away, until it can be written to."""
        self._refuses = True
        self._connection.close()
        self.outage.note(error)

    def _use(self, act: Callable[[], T], limit: float | None) -> T | None:
        if self.outage.is_on and self.pause:
            return None
        began = self._clock()
        try:
            self.busy = True
            with soft_time_limit(limit and min(limit, self._longest)):
                self._connect()
                with self._impatient():
                    return act()
        except StopNow as stop:
            self._note_interruption(stop)
            raise
        except (DriverError, TaskTimeout) as error:
            self._note(error)
            self._note_length(self._clock() - began)
        finally:
            self.busy = False
        return None

    def spare(self, act: Callable[[], object], limit: float = LONGEST) -> None:
        """The same for what the queue can do without: whatever the database has against it is
        logged."""
        try:
            self._use(act, limit)
        except DriverError:
            logger.warning("Something that the queue can do without failed.", exc_info=True)

    def _connect(self) -> None:
        """Have a session, and remember it: Django may put another one in its place."""
        self._session = None
        self._connection.ensure_connection()
        self._session = self._connection.connection
        if self.outage.is_on:
            trouble.knock(self._connection)
            if self._lacks_tables:
                look_for_tables(self._connection.alias)
                self._lacks_tables = False
            if self._refuses:
                trouble.try_to_write(self._connection)
                self._refuses = False
            self.outage.end()

    def _impatient(self) -> AbstractContextManager[None]:
        """SQLite's timeout, which may be long, is C's, and no timer of Python's ends it."""
        alias = self._connection.alias
        return impatient(alias, IMPATIENCE) if self.is_beside_others else nullcontext()

    def _note_interruption(self, stop: StopNow) -> None:
        """A statement is under way. Or it got no answer, where the driver hears of no signal until
        then."""
        if trouble.has_failed(stop, self._connection):
            self.outage.note("it did not answer")
        self._connection.close()

    def _note_length(self, seconds: float) -> None:
        """A try has failed that took so long."""
        if self.is_beside_others and self.outage.is_on and seconds > LONG:
            self.is_silent = True
            if self._clock() < self._answered + RELAPSE:
                self.rest((SHARE - 1) * seconds)

    def _note(self, error: BaseException) -> None:
        """A silent connection is as good as none, and so is a database without its tables; a
        conflict is over at the next turn."""
        self._lacks_tables = self._lacks_tables or trouble.has_no_tables(error)
        of_no_use = isinstance(error, TaskTimeout) or self._lacks_tables
        if of_no_use or trouble.is_outage(error, self._connection, self._session):
            self._connection.close()
            self.outage.note(str(error) or "it did not answer")
        elif not trouble.is_conflict(error, self._connection.alias):
            raise error


def look_for_tables(using: str) -> None:
    """Raise what the driver raises as long as one of the queue's tables or columns is missing;
    others may be there, and of use to nobody."""
    for model in apps.get_app_config("async").get_models():
        model._base_manager.using(using).first()
