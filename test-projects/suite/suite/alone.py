"""Jobs for attempts that hold no transaction."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connection, transaction

from django_async import current_job, ownership
from django_async.errors import JobNotRunnable
from django_async.models import Group, Job
from suite.abuse import begin_again, wait_until
from suite.jobs import note
from suite.locks import end_lock_session, holder
from suite.models import Account
from suite.together import elsewhere


def _me() -> Job:
    job = current_job()
    assert job is not None
    return Job.objects.get(pk=job.id)


def look_at_transaction() -> list[bool]:
    """Whether a transaction is open; whether it can have its own, and others see what it wrote."""
    inside = connection.in_atomic_block
    with transaction.atomic(durable=True):
        note("mine")
    seen = elsewhere(_count_notes) == 1
    return [inside, connection.get_autocommit(), seen]


def _count_notes() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM suite_note")
        return int(cursor.fetchone()[0])


def look_at_itself_elsewhere() -> list[Any]:
    """What others see of this job."""
    me = _me().pk
    job = elsewhere(lambda: Job.objects.get(pk=me))
    return [job.state, job.attempts, job.started and job.started.isoformat()]


def commit_and_fail() -> None:
    note("committed")
    raise ValueError("failed")


def break_constraint() -> None:
    Account.objects.create(name="twice")
    Account.objects.create(name="twice")


def close_connection() -> None:
    note("before the end")
    connection.close()


def break_statement() -> None:
    with suppress(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM there_is_no_such_table")


def leave_transaction(how: str) -> None:
    """Write in a transaction, and do not end it."""
    if how == "BEGIN":
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
    else:
        transaction.set_autocommit(False)
    note("uncommitted")


def set_autocommit_off() -> None:
    """Leave no transaction open, but the next statement would begin one."""
    transaction.set_autocommit(False)
    note("committed")
    transaction.commit()


def note_unfinished_group() -> None:
    group = Group.objects.get(reference="g")
    final = group.final
    note("the group is complete" if group.has_completed(exclude=final) else "the group is open")


def wait_for(directory: str, how: str = "return") -> None:
    """Show that this runs, and end when the file ``go`` is there; perhaps fail the first time."""
    runs = begin_again(directory)
    (Path(directory) / f"began-{runs}").touch()
    wait_until((Path(directory) / "go").exists)
    (Path(directory) / f"ended-{runs}").touch()
    if how == "fail" and runs == 1:
        raise ValueError("failed")


def execute_or_say_why_not(job_id: int) -> str:
    try:
        return str(Job.objects.get(pk=job_id).execute())
    except (JobNotRunnable, ValueError) as error:
        return str(error)


def kill_everybody_once(directory: str) -> str:
    """Kill the parent and this process, the first time."""
    if begin_again(directory) > 1:
        return note("survived")
    note("killed")
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    return "not reached"


def fork_and_look_at_lock() -> bool:
    """Whether this job is owned still when a copy of this process has come and gone."""
    copy = os.fork()
    if not copy:
        gc.collect()
        os._exit(0)
    os.waitpid(copy, 0)
    return elsewhere(_is_owned, _me().id)


def _is_owned(job_id: int) -> bool:
    """Whether another process would find the job owned."""
    with ownership.of(job_id, connection) as mine:
        return not mine


def lock_session() -> int | None:
    """The number of this worker's session for locks, which holds the lock of this job."""
    return holder(_me().id)


def end_lock_session_from_outside() -> int | None:
    number = lock_session()
    end_lock_session(_me().id)
    return number


def execute_itself() -> str:
    try:
        _me().execute()
    except JobNotRunnable:
        return "not runnable"
    return "run"
