"""One attempt at one job that holds no transaction: for long calls to elsewhere.

::

    the job's lock                 on a session of its own: see ownership.py
      BEGIN
        the claim                  the row's lock, as ever
        begin                      started, and the attempt is counted
      COMMIT
        the job                    in autocommit: what it commits stays, whatever comes
      BEGIN
        end                        executed and result, or the failure; if the row still says that
      COMMIT                       this attempt runs
    the lock is given back

A row that says so and whose lock is free tells that its owner is dead: whoever finds that, records
the death. If the lock is lost while the job runs, because its session was ended, it may be taken
for dead and begun again; its own end is then refused. So the job's effects happen at least once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from django.db import Error as DriverError
from django.db import InterfaceError, OperationalError, transaction

from django_async import cancelling, locks, ownership, payload, store, trouble
from django_async.attempt import Attempt
from django_async.errors import StopNow, TransactionOpen
from django_async.locks import Claimed
from django_async.outcomes import Away, Executed, Failure, Lost, Outcome, Undecided
from django_async.sessions import end, forget_transaction
from django_async.workplace import is_left_open
from forkpool import under_way

logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that the end of a job waits for a database that is away or busy. After it, the job is
taken for failed, and runs again."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 1.0


class DetachedAttempt(Attempt):
    """An attempt outside of any transaction."""

    def make(self) -> Outcome:
        """Own the job, and attempt it, if nobody else owns it."""
        with ExitStack() as stack:
            try:
                self.connect()
                session = stack.enter_context(ownership.session(self.using))
                mine = stack.enter_context(ownership.of(self.hint.id, session))
            except Exception as error:  # noqa: BLE001 - told by what it means for the job
                return self._without_lock(error)
            return self._attempt() if mine else self._lost()

    def _without_lock(self, error: Exception) -> Outcome:
        """Nothing has happened to the job; there may be no session to be had."""
        is_refused = isinstance(error, OperationalError | InterfaceError)
        if is_refused and trouble.is_alive(self.connection):
            return Away(self.hint, str(error))
        return self.after_failed_claim(error)

    def _attempt(self) -> Outcome:
        """Begin, call, end; each of them is committed for itself."""
        outcome = self._begin()
        under_way()
        if outcome is not None or self.claimed is None:
            return outcome or self._lost()
        try:
            result = self._call(self.claimed)
        except StopNow:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a job can raise
            self.error = error
            return self._fail(self.claimed, self.failure(error))
        return self._succeed(self.claimed, result)

    def _begin(self) -> Outcome | None:
        """Say in the row that the job runs; an outcome if it does not come to that."""
        try:
            with transaction.atomic(using=self.using, durable=True):
                claimed = self.claim(self.hint, self.connection)
                if claimed is None:
                    return self._lost()
                self.claimed = claimed
                if claimed.since is not None:
                    return self._record_death(claimed)
                store.begin(claimed, self.using)
        except StopNow:
            raise
        except BaseException as error:  # noqa: BLE001 - told by what it means for the job
            return self._after_failed_begin(error)
        return None

    def _record_death(self, claimed: Claimed) -> Outcome:
        """The lock was free: whoever had begun the job is dead, and nobody was left to say so."""
        failure = Failure.of_death("worker and parent ended while the job ran")
        if cancelling.is_asked_for(claimed.id, self.using):  # by when nobody was left to heed it
            failure = replace(failure, cancels=True)
        return self.ended(failure, store.record(store.uncounted(claimed), failure, self.using))

    def _after_failed_begin(self, error: BaseException) -> Outcome:
        if self.claimed is None or trouble.is_conflict(error, self.using):
            return self.after_failed_claim(error)
        self.error = error
        self.drop_dead_connection()
        return self._undecided(self.failure(error))

    def _call(self, claimed: Claimed) -> str:
        """Run the job; its result as JSON."""
        before = self._savepoint()
        try:
            self.result = self.call(claimed)
            result = payload.dump_result(self.result)
        except BaseException:
            self._leave_transaction(before)
            raise
        if self._leave_transaction(before):
            raise TransactionOpen
        return result

    def _savepoint(self) -> str | None:
        """In the transaction of Django's TestCase, where to go back to if the job breaks it."""
        return self.connection.savepoint() if self.connection.in_atomic_block else None

    def _leave_transaction(self, before: str | None) -> bool:
        """Leave what the job has left open, or broken; whether there was something."""
        if before is not None:
            is_broken = trouble.is_aborted(self.connection)
            if is_broken:
                self.connection.set_rollback(False)
                self.connection.savepoint_rollback(before)
            self.connection.savepoint_commit(before)
            return is_broken
        is_open = is_left_open(self.connection) or self._is_open_on_server()
        if is_open:
            forget_transaction(self.connection)
            end(self.connection)
        return is_open

    def _is_open_on_server(self) -> bool:
        """On MariaDB and MySQL only the server knows of a raw BEGIN, and MySQL does not tell: it
        rolls back, so that at least nothing of it is committed together with the job's end."""
        if self.connection.vendor != "mysql" or self.connection.connection is None:
            return False
        try:
            if getattr(self.connection, "mysql_is_mariadb", False):
                with self.connection.cursor() as cursor:
                    cursor.execute("SELECT @@in_transaction")
                    return bool(cursor.fetchone()[0])
            self.connection.rollback()
        except DriverError:  # the session has ended, and all that it had open with it
            self.connection.close()
        return False

    def _succeed(self, claimed: Claimed, result: str) -> Outcome:
        def write() -> Outcome | None:
            if store.mark_begun(claimed, result, self.using):
                return Executed(self.hint, self.label(), self.seconds(), **self.told())
            return None

        return self._end(claimed, write)

    def _fail(self, claimed: Claimed, failure: Failure) -> Outcome:
        def write() -> Outcome | None:
            settlement = store.record_begun(claimed, failure, self.using)
            return self.ended(failure, settlement) if settlement else None

        return self._end(claimed, write)

    def _end(self, claimed: Claimed, write: Callable[[], Outcome | None]) -> Outcome:
        """Write how the attempt ended, as soon as the database lets it. What goes wrong in the
        job's own session is tried again in a new one: the job may have led it to another schema."""
        deadline, pause = time.monotonic() + PATIENCE, SHORTEST_PAUSE
        is_new = self.connection.in_atomic_block  # that of a TestCase, which has one only
        error: Exception | None = None
        while True:
            try:
                locks.go_back(claimed, self.connection)
                if outcome := write():
                    return outcome
                if is_new and not store.has_begun(claimed, self.using):
                    return self._refused()
            except DriverError as problem:
                error = problem
            if not is_new:
                end(self.connection)
            self.drop_dead_connection()
            is_new = True
            if time.monotonic() > deadline:
                return self._undecided(self.failure(self.error or error or TimeoutError()))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _refused(self) -> Outcome:
        """Somebody else took this attempt for dead, and has recorded that."""
        logger.warning(
            "Job %s ended after its lock was lost and it was taken for dead: %s",
            self.hint.id,
            self.label(),
            extra=self.about(),
        )
        return self._lost()

    def _lost(self) -> Outcome:
        return Lost(self.hint, store.was_executed(self.hint, self.using))

    def _undecided(self, failure: Failure) -> Outcome:
        return Undecided(self.hint, str(self.label()), self.seconds(), failure, **self.told())
