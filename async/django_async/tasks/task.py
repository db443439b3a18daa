"""A task with a policy of its own: how often, how soon and for how long it is attempted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, overload

from django_async import payload
from django_async.tasks.framework import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_PRIORITY,
    DEFAULT_TASK_QUEUE_NAME,
    AnyResult,
    AnyTask,
    task_backends,
)
from django_async.utils import full_name

Backoff = Callable[[BaseException, AnyResult], float | None]

POLICY = ("max_attempts", "backoff", "timeout", "metadata", "atomic")
"""What a task, and the backend's OPTIONS, may say about attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncTask(AnyTask):
    """A task of this queue. What is None is as the backend's OPTIONS say.

    Attributes:
        max_attempts: after so many failures and deaths of a worker the task has failed. Without it
            and without ``backoff`` the first exception is final, and a death is not.
        backoff: seconds until the next attempt; or a function of a module (or the path of one) that
            is given the exception and the task's result, and returns seconds, or None to give up.
        timeout: seconds that an attempt may take.
        metadata: a dict of the application's own, kept in the job's ``meta``.
        atomic: False for a task that runs outside of any transaction of the queue.
    """

    max_attempts: int | None = None
    backoff: float | str | Backoff | None = None
    timeout: float | None = None
    metadata: Mapping[str, Any] | None = field(default=None, hash=False)
    atomic: bool | None = None

    def using(
        self,
        *,
        priority: int | None = None,
        queue_name: str | None = None,
        run_after: datetime | timedelta | None = None,
        backend: str | None = None,
        **policy: Any,
    ) -> AsyncTask:
        """The same task with other values; also of its policy. Raises InvalidTask, and TypeError
        for a keyword that does not exist."""
        values = {
            "priority": priority,
            "queue_name": queue_name,
            "run_after": run_after,
            "backend": backend,
            **policy,
        }
        return replace(self, **{key: value for key, value in values.items() if value is not None})


@overload
def task(function: Callable[..., Any]) -> AsyncTask: ...


@overload
def task(
    *,
    priority: int = ...,
    queue_name: str = ...,
    backend: str = ...,
    takes_context: bool = ...,
    **policy: Any,
) -> Callable[[Callable[..., Any]], AsyncTask]: ...


def task(
    function: Callable[..., Any] | None = None,
    *,
    priority: int = DEFAULT_TASK_PRIORITY,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str = DEFAULT_TASK_BACKEND_ALIAS,
    takes_context: bool = False,
    **policy: Any,
) -> Any:
    """Django's ``@task``, which takes the keywords of AsyncTask on every version of Django.

    (From 6.1 on, and in the backport, the original does so too.)
    """

    def wrapper(function: Callable[..., Any]) -> Any:
        return task_backends[backend].task_class(
            func=function,
            priority=priority,
            queue_name=queue_name,
            backend=backend,
            takes_context=takes_context,
            run_after=None,
            **policy,
        )

    return wrapper(function) if function else wrapper


def declared(task: AnyTask) -> dict[str, Any]:
    """What the task itself says about attempts, ready for JSON."""
    found = {name: getattr(task, name, None) for name in POLICY}
    return {name: as_stored(name, value) for name, value in found.items() if value is not None}


def as_stored(name: str, value: Any) -> Any:
    """A value of the policy as it goes into a job's ``meta``.

    Raises TypeError or ValueError, naming it, for what cannot be one.
    """
    if name == "backoff" and callable(value):
        value = full_name(value)
    if name == "metadata" and not isinstance(value, Mapping):
        raise TypeError(f"metadata must be a dict, not {value!r:.80}.")
    try:
        payload.dump_meta({name: value})
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace(f'meta["{name}"]', name)) from error
    return value


def restored(task: AnyTask, **values: Any) -> AnyTask:
    """A copy of the task with these values, as it was enqueued.

    It is not validated: settings may have changed since, and what was enqueued is to run.
    """
    copy = object.__new__(type(task))
    for one in fields(task):
        object.__setattr__(copy, one.name, values.get(one.name, getattr(task, one.name)))
    return copy
