"""Jobs that are ``async def``."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection, transaction

from django_async import current_job, schedule
from django_async.models import Job
from suite.jobs import note
from suite.models import Note

_variable: ContextVar[str] = ContextVar("asynchronous", default="unset")


async def anote(text: str = "noted") -> str:
    await Note.objects.acreate(text=text)
    return text


async def note_and_fail(text: str = "failed") -> None:
    await anote(text)
    await sync_to_async(schedule)(note, ["a child"])
    raise ValueError(text)


async def look_around() -> list[Any]:
    """Where a call to the ORM is made, and what the coroutine knows."""
    _variable.set("set")
    job = current_job()
    assert job is not None
    inside = await sync_to_async(_look)()
    await asyncio.sleep(0)
    seen = await asyncio.create_task(_read_variable())
    return [job.id, *inside, seen]


def _look() -> list[Any]:
    job = current_job()
    main = threading.current_thread() is threading.main_thread()
    return [job and job.id, main, connection.in_atomic_block]


async def _read_variable() -> str:
    return _variable.get()


async def gather() -> int:
    """Several things at once, each with its own query."""
    await asyncio.gather(*(anote(str(number)) for number in range(5)))
    return await Note.objects.acount()


async def dawdle(folder: str, seconds: float = 30) -> None:
    """Wait, and say what becomes of it; have an effect at the end."""
    await anote("begun")
    _touch(folder, "began")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        _touch(folder, "cancelled")
        raise
    finally:
        await anote("finally")
        _touch(folder, "finally")


async def dawdle_in_call(folder: str) -> None:
    """Wait in a synchronous call that the coroutine awaits."""
    _touch(folder, "began")
    try:
        await sync_to_async(time.sleep)(30)
    finally:
        await asyncio.sleep(0)
        _touch(folder, "finally")


async def dawdle_in_statement(folder: str, seconds: float) -> None:
    _touch(folder, "began")
    try:
        await sync_to_async(_sleep_on_server)(seconds)
    finally:
        _touch(folder, "finally")


def _sleep_on_server(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


async def leave_task(folder: str) -> str:
    """Return while a task that it began goes on."""
    task = asyncio.create_task(dawdle(folder))
    while not (Path(folder) / "began").exists():
        await asyncio.sleep(0.001)
    return "left" if not task.done() else "done"


async def raise_base() -> None:
    await anote("gone")
    raise KeyboardInterrupt


def make_coroutine(text: str) -> Any:
    """No ``async def``, but as good as one."""
    return anote(text)


async def use_transactions() -> list[str]:
    await sync_to_async(_keep_and_undo)()
    return [one.text async for one in Note.objects.order_by("id")]


def _keep_and_undo() -> None:
    try:
        with transaction.atomic():
            note("undone")
            raise ValueError
    except ValueError:
        note("kept")


async def execute_another(job_id: int) -> Any:
    """A synchronous job, within a call of an asynchronous one."""
    return await sync_to_async(Job.objects.get(pk=job_id).execute)()


def _touch(folder: str, name: str) -> None:
    (Path(folder) / name).touch()
