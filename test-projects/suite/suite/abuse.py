"""Jobs that abuse their transaction, their process or their words, after an effect that must go."""

from __future__ import annotations

import faulthandler
import itertools
import json
import math
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.models import F
from django.utils import timezone

from django_async import current_job, schedule
from django_async.hints import SUSPECTED
from django_async.models import Job, Parent
from suite.jobs import note
from suite.models import Account, Entry, Note
from suite.together import elsewhere

DEADLINE = 30.0
"""Seconds that a job waits for an event."""


class NoError(BaseException):
    """Neither an Exception, nor known to anybody."""


class UnspeakableError(Exception):
    """It can neither be named nor told."""

    def __repr__(self) -> str:
        raise RuntimeError("no words for it")

    __str__ = __repr__


def effects() -> None:
    """Leave a row, a child job and a commit hook: none of which a failed job may leave."""
    note("an effect")
    schedule(note, ["a child"])
    transaction.on_commit(partial(note, "a hook"))


def exit_politely() -> None:
    effects()
    raise SystemExit(3)


def interrupt() -> None:
    effects()
    raise KeyboardInterrupt


def raise_no_error() -> None:
    effects()
    raise NoError("neither")


def raise_unspeakable() -> None:
    effects()
    raise UnspeakableError


class DeadlyError(Exception):
    """To tell it ends the process."""

    def __repr__(self) -> str:
        raise SystemExit(3)


def raise_deadly() -> None:
    effects()
    raise DeadlyError


def raise_ring() -> None:
    effects()
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def be_cancelled_and_die() -> None:
    """Somebody asks for this job's end, and its worker dies before that is heeded."""
    effects()
    job = current_job()
    assert job
    canceller = threading.Thread(target=_cancel, args=[job.id])
    canceller.start()
    canceller.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _cancel(job_id: int) -> None:
    try:
        assert not Job.objects.get(pk=job_id).cancel()
    finally:
        connection.close()


def raise_odd_text() -> None:
    effects()
    raise ValueError("nul \0 lone \ud800 line\nbreak " + "x" * 1_000_000)


def return_a_set() -> set[int]:
    effects()
    return {1}


def return_nan() -> float:
    effects()
    return math.nan


def return_abyss() -> list[Any]:
    """A result that contains itself."""
    effects()
    abyss: list[Any] = []
    abyss.append(abyss)
    return abyss


def break_foreign_key() -> None:
    """Break a constraint that PostgreSQL and SQLite check at the commit only."""
    effects()
    Entry.objects.create(account_id=-1, amount=1)


def set_rollback() -> None:
    effects()
    transaction.set_rollback(True)


def swallow_orm_error() -> None:
    effects()
    Account.objects.create(name="twice")
    try:
        Account.objects.create(name="twice")
    except IntegrityError:
        pass


def swallow_inner_orm_error() -> None:
    """The error passes an atomic block, which undoes it: this is how it is done."""
    note("before")
    Account.objects.create(name="twice")
    try:
        with transaction.atomic():
            note("undone")
            Account.objects.create(name="twice")
    except IntegrityError:
        pass
    note("after")


def swallow_cursor_error() -> None:
    """Let a statement of several rows fail at its second one, and go on."""
    note("before")
    with connection.cursor() as cursor:
        try:
            cursor.execute("INSERT INTO suite_note (text) VALUES ('half'), (NULL)")
        except DatabaseError:
            pass
    if connection.vendor != "postgresql":  # which refuses everything from here on
        note("after")


def close_connection() -> None:
    effects()
    connection.close()


def _execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def commit() -> None:
    note("committed by the job")
    _execute("COMMIT")


def commit_and_raise() -> None:
    note("committed by the job")
    _execute("COMMIT")
    raise ValueError("after its own commit")


def commit_and_go_on() -> None:
    """What comes after its own COMMIT is in a transaction again."""
    commit()
    effects()


def rollback() -> None:
    effects()
    _execute("ROLLBACK")


def define_data() -> None:
    """On MariaDB and MySQL, this commits."""
    note("committed by the job")
    _execute("DROP TABLE IF EXISTS suite_nowhere")


def open_durable_block() -> None:
    effects()
    with transaction.atomic(durable=True):
        note("inside")


def leave_block_open() -> None:
    transaction.atomic().__enter__()
    effects()


def leave_blocks_open_and_fail() -> None:
    leave_block_open()
    leave_block_open()
    raise RuntimeError("and failed")


def leave_too_many_blocks() -> None:
    effects()
    transaction.get_connection().atomic_blocks[-1].__exit__(None, None, None)


def _own_row() -> Any:
    job = current_job()
    assert job is not None
    return Job.objects.filter(pk=job.id)


def delete_itself() -> None:
    effects()
    _own_row().delete()


def delete_itself_and_silence_selects() -> None:
    delete_itself()
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET sql_select_limit = 0")


def go_elsewhere(place: str) -> None:
    """On to where there is another table of jobs."""
    effects()
    with connection.cursor() as cursor:
        path = connection.vendor == "postgresql"
        cursor.execute(f"SET LOCAL search_path = {place}" if path else f"USE {place}")


def go_elsewhere_and_fail(place: str) -> None:
    go_elsewhere(place)
    raise ValueError("elsewhere")


def go_elsewhere_commit_and_fail(place: str) -> None:
    """To stay there."""
    postgres = connection.vendor == "postgresql"
    _execute(f"SET search_path = {place}" if postgres else f"USE {place}")
    _execute("COMMIT")
    raise ValueError("elsewhere")


def go_elsewhere_and_conflict(place: str, directory: str) -> None:
    """Be the victim of a deadlock there, the first time."""
    here = Path(directory) / "was here"
    if not here.exists():
        here.touch()
        go_elsewhere(place)
        raise OperationalError(1213 if connection.vendor == "mysql" else "40P01", "a deadlock")
    note("again")


def raise_in_chinese() -> None:
    effects()
    raise ValueError("漢字")


def finish_itself() -> None:
    effects()
    _own_row().update(started=timezone.now(), executed=timezone.now())


def end_own_session() -> None:
    effects()
    if connection.vendor == "postgresql":
        _execute("SELECT pg_terminate_backend(pg_backend_pid())")
    else:
        _execute("KILL CONNECTION_ID()")


def lose_session() -> None:
    """Have the session ended from outside, and not even notice."""
    effects()
    end_session_from_outside()


def end_session_from_outside() -> None:
    """End this process's session, on another one."""
    postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {'pg_backend_pid()' if postgres else 'CONNECTION_ID()'}")
        [session] = cursor.fetchone()
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute(
                f"SELECT pg_terminate_backend({session}, 5000)" if postgres else f"KILL {session}"
            )
    finally:
        other.close()


def nest() -> list[str]:
    """Use savepoints and hooks within them as any code does, and return what is kept."""
    with transaction.atomic():
        note("kept")
        transaction.on_commit(partial(note, "hook of what was kept"))
        try:
            with transaction.atomic():
                note("undone")
                schedule(note, ["undone"])
                transaction.on_commit(partial(note, "hook of what was undone"))
                raise ValueError
        except ValueError:
            pass
    return list(Note.objects.values_list("text", flat=True))


def hook(*texts: str) -> None:
    """Have one commit hook a text, in order; those of ``fail`` and ``exit`` fail."""
    note("an effect")
    for text in texts:
        transaction.on_commit(partial(run_hook, text))


def run_hook(text: str) -> None:
    if text == "fail":
        raise ValueError("a failing hook")
    if text == "exit":
        raise SystemExit(4)
    note(text)


def hook_and_fail() -> None:
    transaction.on_commit(partial(note, "a hook"))
    raise ValueError("failed")


def hook_that_leaves(what: str) -> None:
    """A commit hook that leaves the connection as nobody wants to find it."""
    leave: dict[str, Callable[[], Any]] = {
        "a transaction": partial(_execute, "BEGIN"),
        "autocommit off": partial(transaction.set_autocommit, False),
        "a closed connection": connection.close,
        "a lost session": end_session_from_outside,
        "a stream": _stream,
    }
    transaction.on_commit(leave[what])


def deposit(name: str, directory: str, parties: int) -> None:
    """Meet the others at the account, then add one to it under its lock."""
    meet(directory, parties)
    account, _ = Account.objects.get_or_create(name=name)
    locked = Account.objects.select_for_update().get(pk=account.pk)
    locked.balance += 1
    locked.save()


def execute(job_id: int) -> None:
    Job.objects.get(pk=job_id).execute()


def meet(directory: str, parties: int) -> None:
    """Return when as many jobs are here at the same time."""
    job = current_job()
    assert job is not None
    touch(str(Path(directory) / f"{job.id}"))
    wait_until(lambda: len(list(Path(directory).iterdir())) >= parties)


def touch(path: str) -> None:
    Path(path).write_text(str(os.getpid()))


def close_at_commit(path: str) -> None:
    """Leave no session to the next job; a file tells when."""
    transaction.on_commit(partial(touch, path))
    transaction.on_commit(connection.close)


def outlast_failure(directory: str) -> None:
    """Show that this runs, and end when the parent has been told of the failure of another job."""
    touch(str(Path(directory) / "runs"))
    wait_until((Path(directory) / "failed").exists)
    note("outlasted")


def fail_beside(directory: str) -> None:
    """Fail while ``outlast_failure`` runs."""
    wait_until((Path(directory) / "runs").exists)
    raise ValueError("failed")


def wait_for(path: str, signs: str = "") -> None:
    """Have an effect, show a sign of life, and end when the file appears."""
    note("waited")
    if signs:
        job = current_job()
        assert job is not None
        touch(str(Path(signs) / f"{job.id}"))
    wait_until(Path(path).exists)


def wait_until(happened: Any) -> None:
    """Wait for an event, within the deadline of a job."""
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end, "the event did not happen"
        time.sleep(0.005)


def pid() -> int:
    note(str(os.getpid()))
    return os.getpid()


def die_once(directory: str, how: str) -> str:
    """End the process at the first attempt, and be good at the second one."""
    mark = Path(directory) / "died"
    if mark.exists():
        return note("survived")
    mark.touch()
    note("died")
    end_process(how)
    return "not reached"


def end_process(how: str) -> None:
    """``SIGKILL``, ``SIGSEGV``, …, or the code for ``os._exit``."""
    note("died")
    if how.isdecimal():
        os._exit(int(how))
    faulthandler.disable()  # pytest's handler would tell of this as if it were the test's crash
    os.kill(os.getpid(), signal.Signals[how])
    time.sleep(DEADLINE)


def fail_then_die(directory: str) -> None:
    """Raise at the first attempt, and end the process at the second one."""
    mark = Path(directory) / "failed"
    if not mark.exists():
        mark.touch()
        raise ValueError("failed")
    end_process("SIGKILL")


def die_in_statement(seconds: float) -> None:
    """Lose the process while the server is busy with a long statement of it."""
    note("died")
    killer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGKILL])
    killer.daemon = True
    killer.start()
    _execute(f"SELECT {'pg_sleep' if connection.vendor == 'postgresql' else 'SLEEP'}({seconds})")


def fork_and_return() -> None:
    """Come back twice: first as a copy of the worker."""
    note("before the fork")
    if copy := os.fork():
        os.waitpid(copy, 0)


def leave_thread() -> None:
    """Leave a thread behind that never ends."""
    threading.Thread(target=threading.Event().wait).start()
    note("left a thread")


def secret() -> None:
    """Fail with a secret in a variable of its frame."""
    password = "hunter" + "2"
    raise ValueError(f"a password of {len(password)} letters")


def backoff(attempts: int) -> float:
    return 1000.0 * attempts


def backoff_raises(attempts: int) -> float:
    raise ValueError("no idea")


def backoff_exits(attempts: int) -> float:
    raise SystemExit(5)


def backoff_breaks_transaction(attempts: int) -> float:
    _execute("SELECT * FROM suite_nowhere")
    return 1.0


def backoff_in_words(attempts: int) -> str:
    return "soon"


def backoff_beyond_measure(attempts: int) -> int:
    return 10**400


def big(text: str) -> int:
    return len(text)


def return_text(length: int) -> str:
    return "x" * length


def kill_everybody() -> None:
    """Have an effect, and end the parent and all of its workers, which die with it."""
    note("nobody will know")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(DEADLINE)


def count_suspects() -> int:
    """How many suspects are being attempted, this job included if it is one."""
    return elsewhere(Job.objects.exclude(stamp=None).exclude(stamp=SUSPECTED).count)


def read_stamp_elsewhere() -> str | None:
    """This job's stamp, as everybody else sees it."""
    job = current_job()
    assert job is not None
    return elsewhere(lambda: Job.objects.values_list("stamp", flat=True).get(pk=job.id))


def read_batches() -> list[Any]:
    """What the parents that run have in hand."""
    return [json.loads(batch) for batch in Parent.objects.values_list("batch", flat=True)]


def sleep(seconds: float) -> None:
    """Have an effect, and sleep."""
    note("slept")
    time.sleep(seconds)


def swallow_exceptions(seconds: float) -> None:
    """Sleep, whatever Exception comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(seconds)
        except Exception:  # noqa: BLE001 - that is the point
            pass


def sleep_in_statement(seconds: float) -> None:
    """Have an effect, and sleep on the server; on SQLite, in here."""
    note("slept")
    if connection.vendor == "sqlite":
        time.sleep(seconds)
        return
    function = "pg_sleep" if connection.vendor == "postgresql" else "SLEEP"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [seconds])


def ignore_everything() -> None:
    """Sleep, whatever comes, SIGTERM included."""
    note("stays")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            time.sleep(DEADLINE)
        except BaseException:  # noqa: BLE001 - that is the point
            pass


def loop_in_c() -> None:
    """Be deaf to Python's handlers of signals for a long time."""
    note("loops")
    sum(itertools.repeat(0, 10**13))


def sleep_in_hook(seconds: float) -> None:
    """Have an effect, and sleep after the commit."""
    note("slept")
    transaction.on_commit(lambda: time.sleep(seconds))


def change_setting(setting: str) -> None:
    """One of PostgreSQL's settings, for what is left of this session."""
    _execute(f"SET {setting}")


def read_setting(name: str) -> str:
    """One of PostgreSQL's settings, as it is in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        return str(cursor.fetchone()[0])


def read_client_parameters() -> dict[str, str]:
    """How libpq was told to connect."""
    parameters: dict[str, str] = connection.connection.info.get_parameters()
    return parameters


def take_memory(size: int) -> int:
    """Need so many bytes, and have an effect if they are to be had."""
    taken = len(bytearray(size))
    note("took it")
    return taken


_kept: list[bytearray | bytes] = []


def keep_memory(size: int) -> int:
    """Grow by so many bytes, and tell in which process."""
    _kept.append(bytearray(b"x") * size)
    return os.getpid()


def keep_address_space(size: int) -> int:
    """The same, without the memory."""
    _kept.append(bytes(size))  # zeros, of which the system keeps none
    return os.getpid()


def lock_both(directory: str) -> None:
    """Change the first account, then the second one; again only when somebody else is done, who
    might wake too late for the lock that was given back."""
    if begin_again(directory) > 1:
        wait_until((Path(directory) / "other-done").exists)
    Account.objects.filter(name="first").update(balance=F("balance") + 10)
    touch(str(Path(directory) / "has-first"))
    Account.objects.filter(name="second").update(balance=F("balance") + 10)
    note("locked both")


def conflict(code: str, directory: str, times: int) -> None:
    """Have the database end the job's first runs with an error of this number."""
    if begin_again(directory) <= times:
        note("will conflict")
        with connection.cursor() as cursor:
            cursor.execute(_raise(code))
    note("no conflict")


def wrap_conflict(code: str, directory: str, times: int) -> None:
    """Say in words of one's own that the database raised the error."""
    try:
        conflict(code, directory, times)
    except DatabaseError as error:
        raise ValueError("the order could not be taken") from error


def begin_again(directory: str) -> int:
    """How often the job has begun, this time included."""
    runs = len(list(Path(directory).glob("start-*"))) + 1
    touch(str(Path(directory) / f"start-{runs}"))
    return runs


def _raise(code: str) -> str:
    if code == "other":
        return "SELECT * FROM there_is_no_such_table"
    if connection.vendor == "postgresql":
        return f"DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '{code}'; END $$"
    return f"SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'conflict'"


def leave_child_and_die(path: str) -> None:
    """Leave a process in a session of its own, which holds this one's connection, and die."""
    note("died")
    if not os.fork():
        os.setsid()
        Path(path).write_text(str(os.getpid()))
        time.sleep(DEADLINE)
        os._exit(0)
    wait_until(lambda: Path(path).exists() and Path(path).read_text())
    os.kill(os.getpid(), signal.SIGKILL)


def leave_stray(go: str) -> None:
    """Leave a process behind whose parent ends at once, and which ends at the word."""
    note("left a stray")
    if child := os.fork():
        os.waitpid(child, 0)
        return
    if not os.fork():
        os.setsid()
        wait_until(lambda: Path(go).exists())
    os._exit(0)


def sleep_and_die(seconds: float) -> None:
    """Have an effect, sleep, and lose the process."""
    sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def deallocate() -> None:
    """Take the session's prepared statements away, the queue's too."""
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")


_left_open: list[object] = []
"""What would be ended as garbage otherwise."""


def leave_pipeline() -> None:
    """Have an effect, in a pipeline of psycopg that is not ended."""
    pipeline = connection.connection.pipeline()
    pipeline.__enter__()
    _left_open.append(pipeline)
    note("in a pipeline")


def _stream() -> Iterator[Any]:
    """Rows that the server still sends."""
    cursor = connection.connection.cursor()
    rows: Iterator[Any] = cursor.stream("SELECT generate_series(1, 1000000)")
    _left_open.append(rows)
    next(rows)
    return rows


def leave_stream() -> None:
    effects()
    _stream()


def fail_in_stream() -> None:
    """As an error in a loop over the rows does: its traceback keeps them."""
    effects()
    for _ in _stream():
        raise ValueError("in a stream")


def leave_copy_out() -> None:
    effects()
    _copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT").read()


def leave_copy_in() -> None:
    effects()
    _copy("COPY suite_note (text) FROM STDIN").write_row(["copied"])


def _copy(sql: str) -> Any:
    block = connection.connection.cursor().copy(sql)
    _left_open.append(block)
    return block.__enter__()


def break_own_process(what: str) -> None:
    """Have an effect, and leave the process unfit for the end of the attempt."""
    Note.objects.create(text="broken")
    if what == "clock":
        time.monotonic = None  # type: ignore[assignment]
    elif what == "files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    else:
        os.getpid = None  # type: ignore[assignment]
