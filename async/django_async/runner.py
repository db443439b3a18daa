"""One attempt at one job, in one transaction: the heart. (Without one: detached.py.)

::

    BEGIN                          outermost (durable): nobody else can undo what is committed here
      claim                        the row's lock, if the job still is as the hint said
      SAVEPOINT
        the job                    its effects, the jobs that it schedules
      RELEASE                      or ROLLBACK TO, and the error and the next state are recorded
      mark                         executed, with the result
    COMMIT                         effects, children, result and mark together, or none of them
    commit hooks                   one by one, each guarded

The mark comes last on purpose. A job can end its transaction, mark it for rollback or lose its
connection without raising anything: a mark set first would then be committed without effects, or
effects without a mark. A mark set last notices. The savepoint keeps the row's lock while a
failure is recorded, so that nobody else can take the job in between, and its release fails if the
job has ended the transaction itself.

Where the transaction is gone (a dead connection, a commit that failed), the failure is recorded in
a new one that first has to get the row's lock again; while somebody still holds it, the attempt is
undecided, and the engine looks again later.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import Error as DriverError
from django.db import connections, transaction

from django_async import hooks, locks, parents, payload, policy, sessions, stamps, store, trouble
from django_async.attempt import Attempt, Claim
from django_async.detached import DetachedAttempt
from django_async.errors import (
    ConnectionClosed,
    JobNotRunnable,
    JobRowGone,
    MarkedForRollback,
    StopNow,
    TransactionAbused,
    TransactionEnded,
    TransactionOpen,
)
from django_async.hints import SUSPECTED, Hint
from django_async.locks import Claimed
from django_async.models import Job
from django_async.outcomes import (
    Away,
    Busy,
    Conflict,
    Executed,
    Failed,
    Failure,
    Lost,
    Outcome,
    Undecided,
)
from django_async.roundtrips import OneByOne, form_for
from django_async.store import Settlement
from forkpool import under_way

logger = logging.getLogger(__name__)

RETRIES = 3
"""How often a job is run again at once after a deadlock or a serialisation failure."""

SETTLE_PATIENCE = 2.0
"""Seconds that execute() waits for the end of its own lost session, which holds the job's row."""

UNSTAMP_PATIENCE = 2.0
"""Seconds. Whoever looks at another's stamp holds the row's lock for a moment."""


def run_job(hint: Hint, using: str, token: str | None = None) -> Outcome:
    """Attempt the job that the hint names, for the parent with this token; say how it ended."""
    if not policy.is_atomic(hint.meta):
        return DetachedAttempt(hint, using, store.claim).run()
    for may_retry in [True] * RETRIES + [False]:
        attempt = AtomicAttempt(hint, using, store.claim, token, may_retry=may_retry)
        outcome = attempt.run()
        if not isinstance(outcome, Conflict):
            break
    if attempt.is_suspect and isinstance(outcome, Lost | Busy | Away):
        attempt.take_stamp_back()
    return outcome


def execute_now(job: Job) -> Any:
    """Attempt this job, due or not, and return its result or raise what it raised.

    Raises JobNotRunnable if it has ended, is running elsewhere, or a transaction is open.
    """
    using = job._state.db or "default"
    refuse_open_transaction(using)
    for _ in range(2):
        attempt = _attempt_now(job, using)
        outcome = attempt.run()
        job.refresh_from_db(using=using)
        if not isinstance(outcome, Failed) or attempt.error:
            break  # else the death of an earlier attempt was found, and is recorded now
    if isinstance(outcome, Executed):
        return attempt.result
    if attempt.error is not None:
        raise attempt.error
    raise JobNotRunnable(f"Job {job.pk} is {job.state}, was attempted or is running elsewhere.")


def _attempt_now(job: Job, using: str) -> AtomicAttempt | DetachedAttempt:
    hint = Hint(job.pk, job.attempts, job.priority, job.scheduled, job.group_id, job.meta)
    kind = AtomicAttempt if policy.is_atomic(job.meta) else DetachedAttempt
    return kind(hint, using, store.claim_now)


def refuse_open_transaction(using: str) -> None:
    """Raise JobNotRunnable inside an open transaction, that of Django's TestCase excepted."""
    connection = connections[using]
    blocks = connection.atomic_blocks
    opened = any(not getattr(block, "_from_testcase", False) for block in blocks)
    # A connection that is not open yet is not opened for it: its database may be away.
    session = connection.connection is not None
    commits = connection.autocommit if session else connection.settings_dict["AUTOCOMMIT"]
    if opened or not (blocks or commits):
        raise JobNotRunnable(
            "A job's transaction must be the outermost one, and a transaction is open here: leave"
            " the atomic() block first, or set autocommit."
        )


class AtomicAttempt(Attempt):
    """An attempt in one transaction."""

    def __init__(
        self,
        hint: Hint,
        using: str,
        claim: Claim,
        token: str | None = None,
        *,
        may_retry: bool = False,
    ) -> None:
        super().__init__(hint, using, claim)
        self.token = token
        self.may_retry = may_retry
        self.hooks: list[hooks.Hook] = []
        self.first_hook = 0
        self.is_suspect = token is not None and hint.stamp == SUSPECTED

    def make(self) -> Outcome:
        """The transaction, and what follows from its end; before it, a suspect is stamped."""
        try:
            self.connect()
            if self.is_suspect and not stamps.stamp_alone(self.hint, self.token or "", self.using):
                return Lost(self.hint, store.was_executed(self.hint, self.using))
            form = form_for(self.connection)
            with form.transaction():
                self.first_hook = len(self.connection.run_on_commit)
                outcome = self._inside_transaction(form)
                self._take_hooks()
        except StopNow:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a job can raise
            error = self.error or error
            self._go_back()
            if self._may_run_again(error):
                return Conflict(self.hint)
            outcome = self._after_lost_transaction(error)
            if not isinstance(outcome, Executed):
                return outcome
        if self.hooks:
            hooks.run(self.hooks, self.connection, self.hint.id, str(self.label()))
        return outcome

    def take_stamp_back(self) -> None:
        """The attempt did not come about, so that its end will not take the stamp away."""
        deadline = time.monotonic() + UNSTAMP_PATIENCE
        try:
            while not stamps.unstamp(self.hint, self.token or "", self.using):
                if time.monotonic() > deadline:
                    return
                time.sleep(0.01)
        except DriverError:  # it stays until this parent tries again, or ends
            logger.debug("Job %s stays stamped.", self.hint.id, exc_info=True, extra=self.about())

    def _inside_transaction(self, form: OneByOne) -> Outcome:
        self.claimed = self.claim(self.hint, self.connection, form.first)
        under_way()
        if self.claimed is None:
            return self._give_back()
        if self.token and self.claimed.stamp not in (None, SUSPECTED, self.token):
            return self._judge(self.claimed, self.claimed.stamp)
        try:
            result = self._in_savepoint(self.claimed, form)
        except StopNow:
            raise
        except BaseException as error:
            self.error = error
            if self._may_run_again(error) or not self._holds_lock():
                raise
            return self._record_here(self.claimed, self.failure(error))
        self._take_hooks()  # which Django forgets if the mark's or the COMMIT's answer is lost
        # Beyond the savepoint nothing can be undone alone: a failure undoes the transaction.
        if not store.mark_executed(self.claimed, result, self.connection, form.last):
            raise JobRowGone
        return Executed(self.hint, self.label(), self.seconds(), **self.told())

    def _take_hooks(self) -> None:
        self.hooks += hooks.take(self.connection, self.first_hook)

    def _give_back(self) -> Outcome:
        taken = store.was_executed(self.hint, self.using)
        transaction.set_rollback(True, using=self.using)
        return Lost(self.hint, taken)

    def _judge(self, claimed: Claimed, token: str) -> Outcome:
        """The job was stamped to be attempted by another parent: if that one is dead, its attempt
        has ended here, and if it lives, its attempt is about to begin."""
        if not parents.is_gone(token, self.using):
            return self._give_back()
        return self._record_here(claimed, Failure.of_common_death())

    def _may_run_again(self, error: BaseException) -> bool:
        """Whether the attempt only met another transaction, and there is a try left."""
        return self.may_retry and bool(self.claimed) and trouble.is_conflict(error, self.using)

    def _in_savepoint(self, claimed: Claimed, form: OneByOne) -> str:
        """Run the job; its result as JSON."""
        returned = False
        try:
            with form.savepoint():
                self.result = self._within_blocks(claimed)
                result = payload.dump_result(self.result)
                self._check_transaction()
                returned = True
        except StopNow:
            raise
        except BaseException as error:
            self._explain(error, returned=returned)
            raise
        return result

    def _within_blocks(self, claimed: Claimed) -> Any:
        """Call the job. Blocks of atomic() that it has entered and not left are forgotten: Django
        would take ours for them, and never commit."""
        connection = self.connection
        blocks, savepoints = len(connection.atomic_blocks), len(connection.savepoint_ids)
        try:
            result = self.call(claimed)
        finally:
            left = len(connection.atomic_blocks) - blocks
            del connection.atomic_blocks[blocks:], connection.savepoint_ids[savepoints:]
            is_cut_off = sessions.end_if_cut_off(connection)
        if left or is_cut_off:
            raise TransactionEnded if left < 0 else TransactionOpen
        return result

    def _check_transaction(self) -> None:
        """Notice what Django would silently answer with a rollback."""
        if self.connection.closed_in_transaction or self.connection.connection is None:
            raise ConnectionClosed
        if self.connection.get_rollback():
            raise MarkedForRollback

    def _explain(self, error: BaseException, *, returned: bool) -> None:
        """Raise what really happened, where the error that came out of the savepoint hides it.

        Where Django could not go back to the savepoint, and the connection lives, it was no longer
        there: the job had ended the transaction (or the server had, as InnoDB does with the victim
        of a deadlock). Where it could, and only the RELEASE failed, the server had refused to go on
        after an error that the job swallowed.
        """
        if not trouble.is_alive(self.connection):
            if returned:
                raise ConnectionClosed from error
        elif self.connection.needs_rollback and not trouble.is_conflict(error, self.using):
            if not isinstance(error, TransactionAbused):
                raise TransactionEnded from error
        elif returned:
            raise MarkedForRollback from error

    def _holds_lock(self) -> bool:
        """Whether this transaction goes on, and with it the lock on the job's row."""
        connection = self.connection
        return not (
            connection.needs_rollback
            or connection.closed_in_transaction
            or connection.connection is None
            or not connection.in_atomic_block
        )

    def _go_back(self) -> None:
        """To the place of the claim, where the job runs again, or its failure is recorded."""
        try:
            if self.claimed:
                locks.go_back(self.claimed, self.connection)
        except DriverError:  # the session has ended, or would look elsewhere
            sessions.end(self.connection)

    def _record_here(self, claimed: Claimed, failure: Failure) -> Outcome:
        locks.go_back(claimed, self.connection)
        return self.ended(failure, store.record(claimed, failure, self.using))

    def _settle(self, failure: Failure) -> Settlement:
        """Record the failure once the session that was lost has let go of the row. A parent looks
        again later; where there is none, in execute(), that is waited for."""
        deadline = time.monotonic() + (0.0 if self.token else SETTLE_PATIENCE)
        while True:
            settlement = store.settle(self.hint, failure, self.using)
            if settlement is not Settlement.UNDECIDED or time.monotonic() >= deadline:
                return settlement
            time.sleep(0.01)

    def _after_lost_transaction(self, error: BaseException) -> Outcome:
        """All was rolled back, or so it seems: record it under the row's lock, taken anew."""
        if self.claimed is None:
            return self.after_failed_claim(error)
        self.error = error
        failure = self.failure(error)
        self.drop_dead_connection()
        leads_astray = isinstance(error, JobRowGone | TransactionEnded)
        if leads_astray and not self.connection.in_atomic_block:
            sessions.end(self.connection)  # with settings, or a search_path that was committed
        try:
            settlement = self._settle(failure)
            if settlement is Settlement.EXECUTED:
                return self._after_all(self.claimed)
        except DriverError:
            logger.warning(
                "The failure of job %s is still to be recorded.",
                self.hint.id,
                exc_info=True,
                extra=self.about(),
            )
            settlement = Settlement.UNDECIDED
        if settlement is Settlement.UNDECIDED:
            return Undecided(self.hint, str(self.label()), self.seconds(), failure, **self.told())
        return self.ended(failure, settlement)

    def _after_all(self, claimed: Claimed) -> Outcome:
        """The job is executed: by this attempt, if only the server's answer was lost."""
        if not store.is_marked(claimed, self.using):
            return Lost(self.hint, taken=True)
        self.error = None
        return Executed(self.hint, self.label(), self.seconds(), **self.told())
