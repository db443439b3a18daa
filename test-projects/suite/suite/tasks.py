"""Tasks of Django's framework, for the tests. The package can be imported where there is none."""

from __future__ import annotations

import os
import signal
from typing import Any

from django_async.tasks import task
from django_async.tasks.framework import AnyContext, AnyResult
from suite import controlled
from suite.models import Note

calls: list[Any] = []
"""What the back-offs were given, in this process."""


@task
def add(one: int, two: int = 1) -> int:
    return one + two


@task
def note(text: str) -> None:
    Note.objects.create(text=text)


@task
def echo(value: Any) -> Any:
    return value


@task
async def later(value: Any) -> Any:
    return value


@task
def fail(text: str = "no") -> None:
    Note.objects.create(text="of a failure")
    raise ValueError(text)


@task(takes_context=True)
def see(context: AnyContext) -> list[Any]:
    result = context.task_result
    again = see.get_result(result.id)
    return [context.attempt, result.id, str(result.status), str(again.status), again.attempts]


@task
def raw() -> object:
    return lambda: True


@task
def enqueue_one() -> None:
    note.enqueue("a child's")


@task(atomic=False)
def outside() -> str:
    from django.db import connection

    return str(connection.in_atomic_block)


@task
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def backoff(exception: BaseException, result: AnyResult) -> float | None:
    calls.append((exception, result))
    return 0 if result.attempts < 2 else None


@task(backoff=backoff)
def asks_twice() -> None:
    raise KeyError("lost")


def wrong_backoff(exception: BaseException, result: AnyResult) -> float | None:
    raise ZeroDivisionError


@task(max_attempts=3, backoff=0, timeout=30, metadata={"owner": "shop"})
def thrice() -> None:
    raise OSError("gone")


def no_task() -> None:
    calls.append("no_task was called")


@task
def work() -> str:
    return controlled.work()


@task(atomic=False)
def work_outside() -> str:
    return controlled.work()
