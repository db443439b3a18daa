"""A task in a worker: what is called, and what the framework's signals tell of it."""

from __future__ import annotations

import inspect
import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.dispatch import Signal
from django.utils import timezone

from django_async import errors, liveness, policy
from django_async.hooks import end_what_they_began
from django_async.locks import Claimed
from django_async.models import Error, Job
from django_async.outcomes import End, Executed, Failed, Failure
from django_async.payload import about
from django_async.tasks import results
from django_async.tasks.backend import AsyncBackend
from django_async.tasks.framework import (
    AnyResult,
    TaskContext,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from django_async.utils import object_at_end_of_path
from forkpool import TaskInterrupted, TaskTimeout

logger = logging.getLogger(__name__)


_latest: AnyResult | None = None
"""Of the task that this process has begun last: its end is told without reading it again."""


def function_of(claimed: Claimed, using: str) -> Callable[..., Any]:
    """What the job calls: the task's function, after the signal that it starts.

    Raises UnknownFunction if the stored name leads to no task; nothing is called then.
    """
    what = policy.task(claimed.meta)
    task = results.task_of(claimed.name, claimed.queue, what)

    def call(*args: Any, **kwargs: Any) -> Any:
        earlier = _errors(claimed, using) if claimed.attempts else []
        result = _begin(results.make(task, what, list(args), kwargs, earlier))
        _tell_start(result, using)
        if task.takes_context:
            args = (TaskContext(task_result=result), *args)
        value = task.func(*args, **kwargs)
        return _awaited(result, value) if inspect.iscoroutine(value) else _keep(result, value)

    return call


def begun(result_id: str | None) -> tuple[datetime, str] | None:
    """Since when this process runs the task, and as which worker."""
    if _latest is None or _latest.id != result_id or _latest.last_attempted_at is None:
        return None
    return _latest.last_attempted_at, _latest.worker_ids[-1]


def tell_end(outcome: End, using: str, error: BaseException | None) -> None:
    """After the end of an attempt is committed: the signal that the task has finished, if it has.

    It is sent while the exception is being handled, as Django's own backends do it: so a logger
    finds it.
    """
    global _latest
    result, _latest = _latest, None
    try:
        if isinstance(outcome, Failed) and not outcome.discarded:
            return
        told = _told(result, outcome, using)
        if isinstance(outcome, Failed) and error is None:
            error = errors.AttemptFailed(outcome.failure.exception)
        _finish(told, error)
    except errors.StopNow:
        raise
    except BaseException:
        job_id = outcome.hint.id
        logger.exception("The end of task %s was not told.", job_id, extra=about(job_id, None))
    if _has_others(task_finished):
        end_what_they_began(connections[using])


def ask_backoff(path: str, claimed: Claimed, failure: Failure, using: str) -> Any:
    """What the task's back-off says to this failure: seconds, or None to give up."""
    result = _result_so_far(claimed, using)
    result.errors.append(results.error_of(failure))
    result.worker_ids.append(failure.worker or results.UNKNOWN_WORKER)
    return object_at_end_of_path(path)(_exception(failure), result)


def _begin(result: AnyResult) -> AnyResult:
    global _latest
    now = timezone.now()
    results._set(
        result,
        status=TaskResultStatus.RUNNING,
        started_at=result.started_at or now,
        last_attempted_at=now,
    )
    result.worker_ids.append(liveness.worker())
    _latest = result
    return result


def _result_so_far(claimed: Claimed, using: str) -> AnyResult:
    """As it was before this attempt."""
    what = policy.task(claimed.meta)
    task = results.task_of(claimed.name, claimed.queue, what)
    args, kwargs = json.loads(claimed.args), json.loads(claimed.kwargs)
    return results.make(task, what, args, kwargs, _errors(claimed, using))


def _errors(claimed: Claimed, using: str) -> list[Error]:
    return list(Error.objects.using(using).filter(job=claimed.id).order_by("pk"))


def _keep(result: AnyResult, value: Any) -> Any:
    """The value as JSON will have it. Raises TypeError or ValueError for what it cannot hold."""
    kept = normalize_json(value)
    results._set(result, _return_value=kept)
    return kept


async def _awaited(result: AnyResult, coroutine: Any) -> Any:
    return _keep(result, await coroutine)


def _tell_start(result: AnyResult, using: str) -> None:
    """What receivers write is the job's. If one of them raises, what they wrote is undone, and the
    task goes on."""
    if not _has_others(task_started):
        task_started.send_robust(_sender(result), task_result=result)
        return
    try:
        with transaction.atomic(using=using):
            answers = task_started.send_robust(_sender(result), task_result=result)
            if any(isinstance(answer, Exception) for _, answer in answers):
                transaction.set_rollback(True, using=using)
    except (errors.StopNow, TaskTimeout, TaskInterrupted):  # meant for the job
        raise
    except BaseException:
        logger.exception("A signal of task %s was not received by all.", result.id)


def _sender(result: AnyResult) -> type[AsyncBackend]:
    """The class of the task's backend, as with Django's own; settings may have changed since."""
    with suppress(ImproperlyConfigured):
        backend = task_backends[result.backend]
        if isinstance(backend, AsyncBackend):
            return type(backend)
    return AsyncBackend


def _has_others(signal: Signal) -> bool:
    """Whether there is a receiver beside Django's own, which logs and writes nothing."""
    return len(signal.receivers) > 1


def _told(result: AnyResult | None, outcome: End, using: str) -> AnyResult:
    """How it ended, from memory if it was executed here, or from the row."""
    is_it = result is not None and result.id == policy.task(outcome.hint.meta)["id"]
    if result is None or not is_it or not isinstance(outcome, Executed):
        return results.of_job(Job.objects.using(using).get(pk=outcome.hint.id))
    results._set(result, status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now())
    return result


def _finish(result: AnyResult, error: BaseException | None) -> None:
    if error is None:
        task_finished.send_robust(_sender(result), task_result=result)
        return
    traceback = error.__traceback__
    with suppress(BaseException):
        try:
            raise error
        except BaseException:
            error.__traceback__ = traceback
            task_finished.send_robust(_sender(result), task_result=result)
            raise


def _exception(failure: Failure) -> BaseException:
    """What the attempt raised, while that is being handled here; else something that says it."""
    error = sys.exception()
    if error is not None and Failure.of(error).exception == failure.exception:
        return error
    return errors.AttemptFailed(failure.exception)
