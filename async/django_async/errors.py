"""What can go wrong, as a tree. A class's docstring is its default message.

::

    AsyncError
    ├── UnknownFunction        the path of a job leads to no callable
    ├── FunctionNotAllowed     ASYNC["ALLOWED_FUNCTIONS"] or ["SCHEDULABLE"] does not have it
    ├── JobNotRunnable         what was asked of a job cannot be done now: it is running, say
    │   └── JobEnded           … or ever: it has ended, or is gone
    ├── TransactionAbused      the job left its transaction unfit to commit
    │   ├── MarkedForRollback  … by set_rollback(True) or a swallowed database error
    │   ├── ConnectionClosed   … by closing its connection
    │   ├── TransactionEnded   … by a COMMIT or ROLLBACK of its own
    │   ├── TransactionOpen    … by not ending one, a block or a statement, that it began
    │   └── JobRowGone         … by deleting its own row
    ├── Cancelled              why a task has failed that was cancelled
    ├── NoticesUnavailable     the file beside an SQLite database cannot be used
    ├── AttemptFailed          logged for an attempt that could not record its own end
    └── QueueStopped           the queue itself cannot go on
    StopNow (BaseException)    an operator's second signal, raised inside the running job
"""

from __future__ import annotations

from collections.abc import Iterator


class AsyncError(Exception):
    """The job queue failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((self.__doc__ or "").split()))


class UnknownFunction(AsyncError, ValueError):
    """The path leads to no callable."""


class FunctionNotAllowed(AsyncError, ValueError):
    """The settings do not allow this function: ASYNC["ALLOWED_FUNCTIONS"], or ["SCHEDULABLE"] if
    people ask for it."""


class JobNotRunnable(AsyncError):
    """The job cannot be executed now."""


class JobEnded(JobNotRunnable):
    """The job has ended."""


class TransactionAbused(AsyncError):
    """The job left its transaction unfit to commit."""


class MarkedForRollback(TransactionAbused):
    """The job returned with its transaction marked for rollback: by set_rollback(True), or by a
    database error that it swallowed. None of its effects were kept."""


class ConnectionClosed(TransactionAbused):
    """The job returned with its database connection closed: the database rolled everything back."""


class TransactionEnded(TransactionAbused):
    """The job ended its own transaction (a raw COMMIT or ROLLBACK, or a statement that commits by
    itself, as DDL does on MariaDB and MySQL): effects up to a COMMIT were committed by the job
    itself and cannot be undone."""


class TransactionOpen(TransactionAbused):
    """The job returned with a transaction, a block of atomic(), or a statement (a stream(), copy()
    or pipeline() of psycopg) of its own still open, and was rolled back: end what it begins, as
    with statements and decorators do."""


class JobRowGone(TransactionAbused):
    """The job's own row was gone or finished when its execution was to be marked, so the whole
    transaction was rolled back."""


class Cancelled(AsyncError):
    """The job was cancelled."""


class NoticesUnavailable(AsyncError):
    """What runs can neither be shown nor cancelled: the file beside the SQLite database cannot be
    used."""


class AttemptFailed(AsyncError):
    """An attempt failed, and could not record it itself."""


class QueueStopped(AsyncError):
    """The queue stopped."""


class StopNow(BaseException):
    """The operator asked twice: the running job is rolled back and stays as it was."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from, each once: a job may have tied them to a ring."""
    seen: list[BaseException] = []
    while error is not None and not any(error is one for one in seen):
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__
