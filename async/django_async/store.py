"""The statements about one job: claim it, mark it, record its failure, settle what was left open.

The rules behind their shapes:

- A claim is the row's lock, taken by primary key: two parents may have read the same hint, one of
  them gets the row and the other one nothing. The database drops the lock when its holder dies.
- PostgreSQL takes it FOR NO KEY UPDATE: FOR UPDATE would block everybody who inserts a row that
  refers to the job. InnoDB locks every index record that a locking scan touches, so locks are taken
  by key, after a plain read.
- SQLite has one lock, for the one writer. A transaction that reads first and writes later fails at
  once if another wrote in between, whatever the timeout; one that writes first waits its turn. So
  the claim there is an UPDATE, the transaction's first statement.
- Nothing here waits for a row's lock, except where a job asks for it (``cancel(wait=True)``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from django.db import Error as DriverError
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import clock, conf, payload, policy
from django_async.hints import Hint
from django_async.models import Error, Job, Parent
from django_async.outcomes import Failure, NextState, after_failure
from django_async.pending import BY_CALL, BY_KEY, BY_KEY_SQL, in_group_sql
from django_async.turn import take_turn

COLUMNS = "name, args, kwargs, meta, priority, attempts, crashes, stamp"
LOCK = {
    "postgresql": "FOR NO KEY UPDATE SKIP LOCKED",
    "mysql": "FOR UPDATE SKIP LOCKED",
}
UNRECORDED = "COALESCE(discarded, executed) IS NULL"
"""Of an attempt whose end nobody has recorded; the job may have been cancelled meanwhile."""

SUSPECTED = "suspected"
"""What Job.stamp says of a job that may have taken everybody with it."""

CHUNK = 500
"""Keys in one IN. From 1,000 on MariaDB makes a table of them to join with
(``in_predicate_conversion_threshold``), reads the whole index, and locks all that it reads."""

CONFLICTS = ("40001", "40P01", 1020, 1205, 1213)
"""Serialisation failures and deadlocks, as PostgreSQL and as MariaDB and MySQL number them."""


ACTIVE = 1
"""libpq's PQTRANS_ACTIVE, as psycopg's TransactionStatus has it: a statement is in progress."""

LONGEST_IDLE = 2_000_000.0
"""Seconds. PostgreSQL counts milliseconds in 31 bits."""

Extra = tuple[str, list[Any]]
NOTHING_MORE: Extra = ("", [])


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job whose row this transaction has locked."""

    id: int
    name: str
    args: str
    kwargs: str
    meta: str
    priority: int
    attempts: int
    crashes: int
    stamp: str | None
    started: Any


class Settlement(Enum):
    """What came of an attempt whose end nobody had recorded."""

    RECORDED = "its failure is recorded, now or already (by the attempt itself, say)"
    DISCARDED = "the same, and the job given up"
    EXECUTED = "it was executed after all, or the job is gone"
    UNDECIDED = "its lock is still held: look again later"


def claim(hint: Hint, using: str) -> Claimed | None:
    """Lock the job if it is as the hint says, due, and no final job that has to wait; else None."""
    connection = connections[using]
    due, params = clock.statement_time(connection)
    group = "group_id IS NULL" if hint.group is None else "group_id = %s"
    where = f"{BY_KEY_SQL} AND (scheduled IS NULL OR scheduled <= {due}) AND {group}"
    if hint.group is not None:
        params = [*params, hint.group]
    claimed = _lock(hint, connection, where, params, idle=_longest_idle(hint, connection))
    if claimed and hint.group is not None and _has_to_wait(hint, connection):
        return None
    return claimed


def claim_now(hint: Hint, using: str) -> Claimed | None:
    """Lock the job if it is pending, due or not."""
    return _lock(hint, connections[using], BY_KEY_SQL, [])


def mark_executed(claimed: Claimed, result: str, using: str) -> bool:
    """Mark the job, and say whether its row was still there to be marked."""
    connection = connections[using]
    stamp, params = clock.stamp(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE async_job SET executed = {stamp}, started = %s, result = %s,"
            " attempts = attempts + 1, cancelled = NULL, discarded = NULL, stamp = NULL"
            " WHERE id = %s AND executed IS NULL",
            [*params, claimed.started, result, claimed.id],
        )
        return bool(cursor.rowcount == 1)


def record(claimed: Claimed, failure: Failure, using: str) -> NextState:
    """Write the error and the job's next state, under the lock that the caller holds."""
    past = policy.history(
        claimed.meta,
        attempts=claimed.attempts,
        crashes=claimed.crashes,
        priority=claimed.priority,
    )
    with transaction.atomic(using=using):  # a back-off is the application's code
        state = after_failure(past, died=failure.died)
        transaction.set_rollback(True, using=using)
    if failure.died and state.discarded and state.crashes == past.max_crashes:
        failure = failure.given_up(state.crashes)
    add_error(claimed.id, failure, using)
    columns = _columns(state, using)
    columns["stamp"] = SUSPECTED if failure.all_died else None
    job = Job.objects.using(using).filter(pk=claimed.id)
    if not job.filter(cancelled=None).update(**columns):
        # Cancelled after it had lost its lock: the attempt counts, and the job stays as it is.
        job.update(attempts=state.attempts, crashes=state.crashes, started=None, stamp=None)
    return state


def add_error(job_id: int, failure: Failure, using: str) -> None:
    """The trace that every attempt leaves which was not executed."""
    Error.objects.using(using).create(
        job_id=job_id, exception=failure.exception, traceback=failure.traceback
    )


def settle(hint: Hint, failure: Failure, using: str) -> Settlement:
    """Record the failure of an attempt whose transaction is gone, if it really did fail.

    A plain read proves nothing here: a COMMIT whose answer was lost may still be at work, and the
    job would read as unexecuted. Whoever gets the row's lock knows that it is over.
    """

    def write(claimed: Claimed) -> Settlement:
        state = record(claimed, failure, using)
        return Settlement.DISCARDED if state.discarded else Settlement.RECORDED

    return _under_lock(hint, using, write)


def note_stop(hint: Hint, failure: Failure, using: str) -> Settlement:
    """Leave the trace of an attempt that the operator cut short; the job stays as it was."""

    def write(claimed: Claimed) -> Settlement:
        Job.objects.using(using).filter(pk=claimed.id).update(started=None, stamp=None)
        add_error(claimed.id, failure, using)
        return Settlement.RECORDED

    return _under_lock(hint, using, write)


def stamp_alone(hint: Hint, token: str, using: str) -> bool:
    """Stamp a suspect right before its attempt, in a commit of its own; False if it is not free."""
    where = f"{BY_KEY_SQL} AND stamp IN (%s, %s)"
    return _stamp_if_free(hint, token, where, [SUSPECTED, token], using)


def unstamp(hint: Hint, token: str, using: str) -> bool:
    """The stamped attempt did not come about: the job is a suspect as before. False while somebody
    has locked the row, who might take the stamp for that of a death."""
    if _stamp_if_free(hint, SUSPECTED, "stamp = %s", [token], using):
        return True
    return not Job.objects.using(using).filter(pk=hint.id, stamp=token).exists()


def suspect(batch: Sequence[tuple[int, int]], most: int, using: str) -> bool:
    """Stamp those of the batch that may have been running: the first ones that are free and have
    not ended since; a stamp that is there already says more. False if some are locked."""
    attempts = dict(batch)
    jobs = Job.objects.using(using).filter(BY_KEY, pk__in=attempts)
    open_ends = {job for job, tried in jobs.values_list("pk", "attempts") if attempts[job] == tried}
    free = set(_lock_all(sorted(open_ends), using, wait=False))
    first = [job for job, _ in batch if job in free][:most]
    Job.objects.using(using).filter(BY_KEY, pk__in=first, stamp=None).update(stamp=SUSPECTED)
    return free == open_ends


def lock_parent(parent: int, using: str) -> bool:
    """Lock the row of a parent, unless somebody else has it, or has already struck it out."""
    take_turn(using)
    features = connections[using].features
    rows = Parent.objects.using(using).filter(pk=parent)
    if features.has_select_for_update:
        rows = rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
    return rows.first() is not None


def was_executed(hint: Hint, using: str) -> bool:
    """Whether somebody else has executed the job that could not be claimed."""
    ends = Job.objects.using(using).filter(pk=hint.id).values_list("executed", flat=True)
    return ends.first() is not None


def label(hint: Hint, using: str) -> str:
    """The job's call on one line, for a job whose worker can no longer say it."""
    jobs = Job.objects.using(using).filter(pk=hint.id)
    row = jobs.values_list("name", "args", "kwargs").first()
    return payload.label(*row) if row else f"job {hint.id}"


def cancel(identity: str, using: str, *, wait: bool, but: int | None = None) -> int:
    """Cancel the pending jobs of an identity (``but`` excepted); how many there were.

    Without ``wait``, jobs whose row is locked are left alone: they are running.
    """
    others = Job.objects.using(using).exclude(pk=but or 0)
    with transaction.atomic(using=using):
        take_turn(using)
        found = others.filter(BY_CALL, identity=identity).order_by("pk")
        return sum(
            _cancel_all(_lock_all(ids, using, wait=wait), using)
            for ids in _chunks(list(found.values_list("pk", flat=True)))
        )


def knock(using: str) -> None:
    """Find out whether the database answers."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT 1")


def is_alive(connection: BaseDatabaseWrapper) -> bool:
    """Whether the session with the server still exists, in whatever state its transaction is."""
    if connection.connection is None or connection.closed_in_transaction:
        return False
    if connection.vendor == "postgresql":  # where is_usable() fails in an aborted transaction
        # A statement that an exception of a signal's handler has cut off is never read to its end.
        cut_off = connection.connection.info.transaction_status == ACTIVE
        return not (connection.connection.closed or cut_off)
    return bool(connection.is_usable())


def is_outage(error: BaseException, connection: BaseDatabaseWrapper, session: Any) -> bool:
    """Whether there was no database to talk to, or no longer: not a fault of the statement."""
    if not isinstance(error, DriverError):
        return False
    return has_lost(session, connection) or not is_alive(connection)


def has_lost(session: Any, connection: BaseDatabaseWrapper) -> bool:
    """Whether the session has ended since; Django may have opened a new one on its way out of a
    transaction."""
    return session is not None and connection.connection is not session


def is_conflict(error: BaseException, using: str) -> bool:
    """Whether a claim only met somebody else's write, and may be tried again: SQLite's one writer
    was at work for longer than the timeout; or, where the isolation level is higher than READ
    COMMITTED, the row was changed since the transaction's snapshot."""
    return any(_is_conflict(link, connections[using].vendor) for link in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_conflict(error: BaseException, vendor: str) -> bool:
    if not isinstance(error, OperationalError):
        return False
    if vendor == "sqlite":
        return "locked" in str(error)
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) in CONFLICTS or bool(
        cause and cause.args and cause.args[0] in CONFLICTS
    )


def _under_lock(hint: Hint, using: str, write: Callable[[Claimed], Settlement]) -> Settlement:
    """Write under the row's lock, if it can be had and nobody has recorded the attempt yet."""
    try:
        with transaction.atomic(using=using, durable=True):
            if claimed := _lock(hint, connections[using], UNRECORDED, []):
                return write(claimed)
    except OperationalError as error:
        if not is_conflict(error, using):
            raise
    return _look(hint, using)


def _stamp_if_free(hint: Hint, value: str, where: str, params: list[Any], using: str) -> bool:
    with transaction.atomic(using=using):
        if not (claimed := _lock(hint, connections[using], where, params)):
            return False
        Job.objects.using(using).filter(pk=claimed.id).update(stamp=value, started=None)
        return True


def _lock(
    hint: Hint,
    connection: BaseDatabaseWrapper,
    where: str,
    params: Sequence[Any],
    idle: Extra = NOTHING_MORE,
) -> Claimed | None:
    where = f"id = %s AND attempts = %s AND {where}"
    params = [hint.id, hint.attempts, *params]
    stamp, stamp_params = clock.stamp(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                f"UPDATE async_job SET started = {stamp} WHERE {where}", [*stamp_params, *params]
            )
            if not cursor.rowcount:
                return None
            where, params = "id = %s", [hint.id]
        skip = _skip_locked(connection)
        cursor.execute(
            f"SELECT {COLUMNS}, {stamp}{idle[0]} FROM async_job WHERE {where} {skip}",
            [*stamp_params, *idle[1], *params],
        )
        row = cursor.fetchone()
    return Claimed(hint.id, *row[: len(row) - len(idle[1])]) if row else None


def _longest_idle(hint: Hint, connection: BaseDatabaseWrapper) -> Extra:
    """Have PostgreSQL end the session if nothing comes from it until well after the timeout: a
    worker on a host that froze gives the row back, and cannot commit when it thaws. It rides on the
    claim, holds for this transaction, and is left out where that is a TestCase's."""
    seconds = policy.timeout(hint.meta)
    if connection.vendor != "postgresql" or seconds is None or len(connection.atomic_blocks) > 1:
        return NOTHING_MORE
    limit = min(seconds + 2 * conf.current().timeout_grace, LONGEST_IDLE)
    return ", set_config('idle_in_transaction_session_timeout', %s, true)", [f"{limit:.3f}s"]


def _skip_locked(connection: BaseDatabaseWrapper) -> str:
    lock = LOCK.get(connection.vendor, "")
    if connection.features.has_select_for_update_skip_locked:
        return lock
    return lock.removesuffix(" SKIP LOCKED")


def _has_to_wait(hint: Hint, connection: BaseDatabaseWrapper) -> bool:
    """Whether this is the final job of a group in which another job has not ended yet."""
    pending = in_group_sql(connection.vendor, "member")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM async_group JOIN async_job member ON member.group_id = async_group.id"
            f" WHERE async_group.final_id = %s AND member.id <> %s AND {pending} LIMIT 1",
            [hint.id, hint.id],
        )
        return cursor.fetchone() is not None


def _look(hint: Hint, using: str) -> Settlement:
    """What a plain read can tell: only what cannot change any more."""
    job = Job.objects.using(using).filter(pk=hint.id)
    row = job.values_list("attempts", "executed", "discarded").first()
    if row is None or row[1]:
        return Settlement.EXECUTED
    if row[2]:
        return Settlement.DISCARDED
    return Settlement.UNDECIDED if row[0] == hint.attempts else Settlement.RECORDED


def _lock_all(ids: list[int], using: str, *, wait: bool) -> list[int]:
    """Those of the ids whose rows could be locked; in ascending order, so that two callers who wait
    for each other's rows meet in the same order."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        return ids  # the update itself waits for the one writer
    rows = Job.objects.using(using).filter(pk__in=ids).order_by("pk")
    skip = not wait and connection.features.has_select_for_update_skip_locked
    no_key = connection.features.has_select_for_no_key_update
    locked = rows.select_for_update(skip_locked=skip, no_key=no_key)
    return list(locked.values_list("pk", flat=True))


def _cancel_all(ids: list[int], using: str) -> int:
    """Cancel those that are still pending, now that their rows are locked."""
    jobs = Job.objects.using(using).filter(BY_KEY, pk__in=ids)
    return jobs.update(cancelled=clock.DatabaseNow())


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))


def _columns(state: NextState, using: str) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "attempts": state.attempts,
        "crashes": state.crashes,
        "priority": state.priority,
        "started": None,
    }
    if state.discarded:
        columns["discarded"] = clock.DatabaseNow()
    elif state.delay is not None:
        moment = clock.utc_now(using) + timedelta(seconds=state.delay)
        columns["scheduled"] = clock.as_field_value(moment)
    return columns
