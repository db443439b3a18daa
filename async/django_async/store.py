"""The statements about one job: claim it, mark it, record its failure, settle what was left open.

A claim is the row's lock, taken by primary key: two parents may have read the same hint, one of
them gets the row and the other one nothing. The database drops the lock when its holder dies.
Nothing here waits for one. How locks are taken is in locks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from django_async import clock, conf, liveness, ownership, payload, policy, texts
from django_async.hints import SUSPECTED, Hint
from django_async.locks import TABLE, Ask, Claimed, lock, longest_idle
from django_async.models import Error, Job
from django_async.outcomes import LONGEST_KIND, Failure, NextState, after_failure
from django_async.pending import BY_KEY_SQL, waits_for_sql
from django_async.trouble import is_conflict

UNRECORDED = "COALESCE(discarded, executed) IS NULL"
"""Of an attempt whose end nobody has recorded; the job may have been cancelled meanwhile."""


IN_ATTEMPT = "attempts = %s AND started = %s"
"""Of a job whose row says that this very attempt runs, without a transaction."""


Tell = Callable[[str, Sequence[Any]], bool]
"""How a statement and its parameters get to the server; whether it has met a row."""


class Settlement(Enum):
    """What came of an attempt whose end nobody had recorded."""

    RECORDED = "its failure is recorded, now or already (by the attempt itself, say)"
    DISCARDED = "the same, and the job given up"
    EXECUTED = "it was executed after all, or the job is gone"
    UNDECIDED = "its lock is still held: look again later"


def claim(hint: Hint, connection: BaseDatabaseWrapper, ask: Ask | None = None) -> Claimed | None:
    """Lock the job if it is as the hint says, due, and no final job that has to wait; else None."""
    due, params = clock.statement_time(connection)
    group = "group_id IS NULL" if hint.group is None else "group_id = %s"
    where = f"{BY_KEY_SQL} AND (scheduled IS NULL OR scheduled <= {due}) AND {group}"
    if hint.group is not None:
        params = [*params, hint.group]
    claimed = lock(hint, connection, where, params, idle=longest_idle(hint, connection), ask=ask)
    if claimed and claimed.meta != hint.meta:  # which says how the job is to be run
        return None
    if claimed and hint.group is not None and _has_to_wait(hint, connection):
        return None
    return claimed


def claim_now(
    hint: Hint, connection: BaseDatabaseWrapper, ask: Ask | None = None
) -> Claimed | None:
    """Lock the job if it is pending, due or not."""
    return lock(hint, connection, BY_KEY_SQL, [], ask=ask)


def mark_executed(
    claimed: Claimed, result: str, connection: BaseDatabaseWrapper, tell: Tell
) -> bool:
    """Mark the job, and say whether its row was still there to be marked."""
    stamp, params = clock.stamp(connection)
    return tell(
        f"UPDATE async_job SET executed = {stamp}, started = %s, worker = %s, result = %s,"
        " attempts = attempts + 1, cancelled = NULL, discarded = NULL, stamp = NULL"
        f" WHERE id = %s AND executed IS NULL AND {TABLE[connection.vendor]} = %s",
        [*params, claimed.started, liveness.worker(), result, claimed.id, claimed.table],
    )


def begin(claimed: Claimed, using: str) -> None:
    """Say that an attempt without a transaction runs, and count it, in its claim's transaction.

    Whoever finds that committed, and can own the job (ownership.py), knows that its owner is dead.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            "UPDATE async_job SET started = %s, worker = %s, attempts = attempts + 1, stamp = NULL"
            " WHERE id = %s",
            [claimed.started, liveness.worker(), claimed.id],
        )


def mark_begun(claimed: Claimed, result: str, using: str) -> bool:
    """Mark the job whose attempt has begun, and say whether it is marked, now or already (where the
    answer was lost). It is not if somebody has recorded the attempt's death."""
    connection = connections[using]
    stamp, params = clock.stamp(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE async_job SET executed = {stamp}, result = %s"
            f" WHERE id = %s AND {IN_ATTEMPT} AND {BY_KEY_SQL}",
            [*params, result, claimed.id, *_attempt(claimed)],
        )
        if cursor.rowcount == 1:
            return True
    return is_marked(claimed, using)


def record_begun(claimed: Claimed, failure: Failure, using: str) -> Settlement | None:
    """Record the failure of an attempt that has begun, by the same rule as any; None if its row is
    locked, or does not say that it runs."""
    where = f"{IN_ATTEMPT} AND {UNRECORDED}"
    hint = Hint(claimed.id, claimed.attempts + 1, claimed.priority, None, None)
    with transaction.atomic(using=using, durable=True):
        found = lock(hint, connections[using], where, _attempt(claimed))
        return record(uncounted(found), failure, using) if found else None


def is_marked(claimed: Claimed, using: str) -> bool:
    """Whether this very attempt has executed the job."""
    return _is(claimed, "executed IS NOT NULL", using)


def has_begun(claimed: Claimed, using: str) -> bool:
    """Whether the row still says that the attempt runs."""
    return _is(claimed, UNRECORDED, using)


def uncounted(claimed: Claimed) -> Claimed:
    """As the row was before the attempt that has begun was counted."""
    return replace(claimed, attempts=max(claimed.attempts - 1, claimed.crashes))


def _attempt(claimed: Claimed) -> list[Any]:
    """The parameters of IN_ATTEMPT."""
    return [claimed.attempts + 1, claimed.started]


def _is(claimed: Claimed, what: str, using: str) -> bool:
    """Whether this holds for the row, which this attempt, begun or executed, is the last one of."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT 1 FROM async_job WHERE id = %s AND {IN_ATTEMPT} AND {what}",
            [claimed.id, *_attempt(claimed)],
        )
        return cursor.fetchone() is not None


def record(claimed: Claimed, failure: Failure, using: str) -> Settlement:
    """Write the error and the job's next state, under the lock that the caller holds."""
    if failure.cancels:
        return _record_cancellation(claimed, failure, using)
    state = _next_state(claimed, failure, using)
    if failure.died and state.discarded and state.crashes == conf.current().max_crashes:
        failure = failure.given_up(state.crashes)
    add_error(claimed.id, failure, using)
    columns = _columns(state, using)
    columns["stamp"] = SUSPECTED if failure.all_died else None
    job = Job.objects.using(using).filter(pk=claimed.id)
    if not job.filter(cancelled=None).update(**columns):
        # Cancelled after it had lost its lock: the attempt counts, and the job stays as it is.
        job.update(attempts=state.attempts, crashes=state.crashes, started=None, stamp=None)
    return Settlement.DISCARDED if state.discarded else Settlement.RECORDED


def _record_cancellation(claimed: Claimed, failure: Failure, using: str) -> Settlement:
    """The attempt counts, and the job has ended."""
    add_error(claimed.id, failure, using)
    job = Job.objects.using(using).filter(pk=claimed.id)
    job.filter(cancelled=None).update(cancelled=clock.DatabaseNow())
    job.update(attempts=claimed.attempts + 1, started=None, stamp=None)
    return Settlement.RECORDED


def _next_state(claimed: Claimed, failure: Failure, using: str) -> NextState:
    past = policy.history(
        claimed.meta,
        attempts=claimed.attempts,
        crashes=claimed.crashes,
        priority=claimed.priority,
        about=payload.about(claimed.id, claimed.name),
        died=failure.died,
        ask=partial(_ask_task, claimed, failure, using),
    )
    with transaction.atomic(using=using):  # a back-off is the application's code
        state = after_failure(past, died=failure.died)
        transaction.set_rollback(True, using=using)
    return state


def _ask_task(claimed: Claimed, failure: Failure, using: str, path: str) -> object:
    from django_async.tasks import running

    return running.ask_backoff(path, claimed, failure, using)


def add_error(job_id: int, failure: Failure, using: str) -> None:
    """The trace that every attempt leaves which was not executed."""
    ago, kind = failure.seconds, failure.kind

    def insert(spelt: texts.Spelling) -> None:
        Error.objects.using(using).create(
            job_id=job_id,
            exception=spelt(failure.exception),
            traceback=spelt(failure.traceback),
            kind=None if kind is None else spelt(kind)[:LONGEST_KIND],
            worker=failure.worker,
            started=None if ago is None else timezone.now() - timedelta(seconds=ago),
        )

    texts.write(insert, [failure.exception, failure.traceback, kind or ""], using)


def settle(hint: Hint, failure: Failure, using: str) -> Settlement:
    """Record the failure of an attempt whose transaction is gone, if it really did fail.

    A plain read proves nothing here: a COMMIT whose answer was lost may still be at work, and the
    job would read as unexecuted. Whoever gets the row's lock knows that it is over.
    """

    def write(claimed: Claimed) -> Settlement:
        return record(claimed, failure, using)

    return _underlock(hint, using, write)


def note_stop(hint: Hint, failure: Failure, using: str) -> Settlement:
    """Leave the trace of an attempt that the operator cut short; the job stays as it was."""

    def write(claimed: Claimed) -> Settlement:
        job = Job.objects.using(using).filter(pk=claimed.id)
        job.update(attempts=claimed.attempts, started=None, stamp=None)
        add_error(claimed.id, failure, using)
        return Settlement.RECORDED

    return _underlock(hint, using, write)


def was_executed(hint: Hint, using: str) -> bool:
    """Whether somebody else has executed the job that could not be claimed."""
    ends = Job.objects.using(using).filter(pk=hint.id).values_list("executed", flat=True)
    return ends.first() is not None


def was_executed_by(worker: str | None, hint: Hint, using: str) -> bool:
    """Whether the attempt that the hint led to was this process's, and has executed the job."""
    made = Job.objects.using(using).filter(pk=hint.id, attempts=hint.attempts + 1, worker=worker)
    return made.exclude(executed=None).exists()


def describe(hint: Hint, using: str) -> tuple[str, str | None, str | None]:
    """The job's call on one line, its name and its queue, where its worker can no longer say it."""
    jobs = Job.objects.using(using).filter(pk=hint.id)
    row = jobs.values_list("name", "args", "kwargs", "queue").first()
    return (payload.label(*row[:3]), row[0], row[3]) if row else (f"job {hint.id}", None, None)


def _underlock(hint: Hint, using: str, write: Callable[[Claimed], Settlement]) -> Settlement:
    """Write under the row's lock, if it can be had and nobody has recorded the attempt yet; and, of
    a job without a transaction, if nobody owns it."""
    try:
        with _nobody_owns(hint, using) as free, transaction.atomic(using=using, durable=True):
            if free and (claimed := _lock_unrecorded(hint, using)):
                return write(claimed)
    except OperationalError as error:
        if not is_conflict(error, using):
            raise
    return _look(hint, using)


def _nobody_owns(hint: Hint, using: str) -> AbstractContextManager[bool]:
    is_atomic = policy.is_atomic(hint.meta)
    return nullcontext(True) if is_atomic else ownership.of(hint.id, connections[using])


def _lock_unrecorded(hint: Hint, using: str) -> Claimed | None:
    """Lock the row as the attempt has left it; as it was before that attempt was counted."""
    connection = connections[using]
    if policy.is_atomic(hint.meta):
        return lock(hint, connection, UNRECORDED, [])
    begun = replace(hint, attempts=hint.attempts + 1)
    if found := lock(begun, connection, f"{UNRECORDED} AND started IS NOT NULL", []):
        return uncounted(found)
    return lock(hint, connection, f"{UNRECORDED} AND started IS NULL", [])


def _has_to_wait(hint: Hint, connection: BaseDatabaseWrapper) -> bool:
    """Whether this is the final job of a group in which another job has not ended yet."""
    with connection.cursor() as cursor:
        cursor.execute(waits_for_sql(connection.vendor, "%s"), [hint.id, hint.id])
        return cursor.fetchone() is not None


def _look(hint: Hint, using: str) -> Settlement:
    """What a plain read can tell: only what cannot change any more."""
    job = Job.objects.using(using).filter(pk=hint.id)
    row = job.values_list("attempts", "started", "executed", "discarded").first()
    if row is None or row[2]:
        return Settlement.EXECUTED
    if row[3]:
        return Settlement.DISCARDED
    counted = bool(row[1]) and not policy.is_atomic(hint.meta)
    return Settlement.UNDECIDED if row[0] - counted == hint.attempts else Settlement.RECORDED


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
