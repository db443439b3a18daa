"""A job's commit hooks, run one by one after its commit, each guarded.

Django itself would drop all that come after one that raises.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import Error as DriverError
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async.errors import StopNow
from django_async.payload import about
from django_async.sessions import end_if_cut_off

logger = logging.getLogger(__name__)

Hook = Callable[[], None]


def take(connection: BaseDatabaseWrapper, first: int) -> list[Hook]:
    """Take the hooks from this place on out of Django's hands."""
    hooks = [hook[1] for hook in connection.run_on_commit[first:]]
    del connection.run_on_commit[first:]
    return hooks


def run(hooks: list[Hook], connection: BaseDatabaseWrapper, job_id: int, label: str) -> None:
    """Run them. The job is executed, whatever they raise."""
    for hook in hooks:
        try:
            hook()
        except StopNow:
            raise
        except BaseException:
            logger.exception(
                "A commit hook of job %s failed: %s",
                job_id,
                label,
                extra=about(job_id, label.partition("(")[0]),
            )
        end_if_cut_off(connection)
    if hooks:
        end_what_they_began(connection)


def end_what_they_began(connection: BaseDatabaseWrapper) -> None:
    """A transaction that a hook left open would be the next job's: nobody would commit it."""
    if connection.in_atomic_block:  # a TestCase's
        return
    try:
        connection.rollback()
        connection.set_autocommit(True)
    except DriverError:
        connection.close()
