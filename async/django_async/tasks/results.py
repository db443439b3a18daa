"""A task's result is what its job's row says, with its errors and with what runs now."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from django.utils import timezone

from django_async import api, clock, current, payload, policy, roster, utils
from django_async.errors import AsyncError, Cancelled, NoticesUnavailable, UnknownFunction
from django_async.models import Error, Job
from django_async.noticeboard import noticeboard
from django_async.outcomes import STOPPED, Failure
from django_async.tasks.framework import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_PRIORITY,
    AnyResult,
    AnyTask,
    Task,
    TaskError,
    TaskResult,
    TaskResultStatus,
)
from django_async.tasks.task import declared, restored

UNKNOWN_WORKER = "unknown"
"""Stands for a worker that died together with everybody who knew it."""

_ID = re.compile("[0-9a-f]{32}")


def prepared(
    task: AnyTask,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    alias: str,
    using: str,
    policy_of_backend: Mapping[str, Any],
) -> tuple[Job, AnyResult]:
    """The job that is to be saved, and its result.

    Raises TypeError or ValueError for what JSON, or a column, cannot hold.
    """
    now = partial(clock.utc_now, using)
    run_after: Any = task.run_after
    if isinstance(run_after, timedelta):
        run_after = clock.moment(run_after, now)
        task = restored(task, run_after=run_after)
    result: AnyResult = TaskResult(
        task=task,
        id=uuid4().hex,
        status=TaskResultStatus.READY,
        enqueued_at=timezone.now(),
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=list(args),
        kwargs=dict(kwargs),
        backend=alias,
        errors=[],
        worker_ids=[],
    )
    job = api.build(
        task.module_path,
        result.args,
        result.kwargs,
        run_after,
        _meta(result, policy_of_backend),
        int(task.priority),
        task.queue_name,
        now,
    )
    job.task_id = result.id
    return job, result


def _meta(result: AnyResult, policy_of_backend: Mapping[str, Any]) -> dict[str, Any]:
    """What the queue heeds, and what makes the result again: the row changes with each failure."""
    task = result.task
    own = declared(task)
    what: dict[str, Any] = {"id": result.id, "enqueued_at": _text(result.enqueued_at)}
    if result.backend != DEFAULT_TASK_BACKEND_ALIAS:
        what["backend"] = result.backend
    if task.priority != DEFAULT_TASK_PRIORITY:
        what["priority"] = task.priority
    if task.run_after is not None:
        what["run_after"] = _text(task.run_after)
    if own:
        what["policy"] = own
    return {**policy_of_backend, **own, payload.TASK: what}


def find(result_id: object, using: str) -> Job | None:
    """The job with this id of a result."""
    if not isinstance(result_id, str) or not _ID.fullmatch(result_id):
        return None
    return Job.objects.using(using).filter(task_id=result_id).first()


def of_job(job: Job) -> AnyResult:
    """The result as the job's row, its errors and the noticeboard have it.

    Raises UnknownFunction if the code has no such task any more.
    """
    what = policy.task(job.meta)
    errors = list(job.errors.order_by("pk"))
    ends = job.executed or job.discarded or job.cancelled
    run = None if ends else _run(job)
    args, kwargs = json.loads(job.args), json.loads(job.kwargs)
    result = make(task_of(job.name, job.queue, what), what, args, kwargs, errors)
    started = job.started if job.executed else run[0] if run else None
    attempts = [*_starts(errors), *([started] if started else [])]
    worker = job.worker if job.executed else run[1] if run else None
    _set(
        result,
        status=_status(job, is_running=run is not None),
        started_at=attempts[0] if attempts else None,
        last_attempted_at=attempts[-1] if attempts else None,
        finished_at=ends,
        errors=[*result.errors, *_how_it_ended(job, errors)],
        worker_ids=[*result.worker_ids, *([worker or UNKNOWN_WORKER] if started else [])],
        _return_value=json.loads(job.result) if job.executed and job.result else None,
    )
    if job.discarded and result.errors:
        result.errors[-1] = _discarded(result.errors[-1], len(attempts))
    return result


def make(
    task: AnyTask,
    what: Mapping[str, Any],
    args: list[Any],
    kwargs: dict[str, Any],
    errors: Sequence[Error],
) -> AnyResult:
    """A result that is ready to be attempted, after so many errors."""
    starts = _starts(errors)
    return TaskResult(
        task=task,
        id=what["id"],
        status=TaskResultStatus.READY,
        enqueued_at=_moment(what.get("enqueued_at")),
        started_at=starts[0] if starts else None,
        last_attempted_at=starts[-1] if starts else None,
        finished_at=None,
        args=args,
        kwargs=kwargs,
        backend=what["backend"],
        errors=[_error(error) for error in errors],
        worker_ids=[error.worker or UNKNOWN_WORKER for error in errors if error.kind != STOPPED],
    )


def task_of(path: str, queue: str, what: Mapping[str, Any]) -> AnyTask:
    """The task that the path leads to, as it was enqueued.

    Raises UnknownFunction if it leads to none; nothing of what it leads to is called.
    """
    task = utils.target_of_path(path)
    if not isinstance(task, Task):
        raise UnknownFunction(f"{path!r} is {type(task).__name__}, and no Task.")
    if task.module_path != path:
        utils.check_allowed(task.module_path)
    values = {
        "priority": what["priority"],
        "queue_name": queue,
        "backend": what["backend"],
        "run_after": _moment(what.get("run_after")),
        **_policy(what.get("policy", {})),
    }
    as_defined = all(getattr(task, name, None) == value for name, value in values.items())
    return task if as_defined else restored(task, **values)


def _policy(stored: Mapping[str, Any]) -> dict[str, Any]:
    """As the task declared it: a back-off that was stored by its path is a function again."""
    found = dict(stored)
    if isinstance(found.get("backoff"), str):
        with suppress(AsyncError):  # it is missed when it is asked, and not before
            found["backoff"] = utils.object_at_end_of_path(found["backoff"])
    return found


def _starts(errors: Sequence[Error]) -> list[datetime]:
    """When the attempts began that have failed."""
    return [error.started or error.executed for error in errors if error.kind != STOPPED]


def _status(job: Job, *, is_running: bool) -> TaskResultStatus:
    if job.executed:
        return TaskResultStatus.SUCCESSFUL
    if job.discarded or job.cancelled:
        return TaskResultStatus.FAILED
    return TaskResultStatus.RUNNING if is_running else TaskResultStatus.READY


def _run(job: Job) -> tuple[datetime, str] | None:
    """Since when and where the job runs, if it does: by its row, by the caller being it, and by
    what living parents say."""
    if job.started:
        return job.started, job.worker or UNKNOWN_WORKER
    using = job._state.db or "default"
    here = current.current_job()
    if here is not None and (here.id, here.using) == (job.pk, using):
        return _since_here(job)
    try:
        with closing(noticeboard(using)) as board:
            if all(run.job_id != job.pk for run in board.runs()):
                return None
        for entry in roster.entries(using):
            if entry.is_alive and entry.run.job_id == job.pk and entry.parent:
                return entry.run.since, f"{entry.parent.host[:50]}:{entry.run.pid}"
    except NoticesUnavailable:
        return None
    return None


def _since_here(job: Job) -> tuple[datetime, str]:
    from django_async.tasks import running

    begun = running.begun(job.task_id)
    return begun or (timezone.now(), UNKNOWN_WORKER)


def _error(error: Error) -> TaskError:
    return TaskError(
        exception_class_path=error.kind or "builtins.Exception", traceback=_told(error)
    )


def _told(error: Error) -> str:
    """A traceback ends with what was raised; of a dead worker there is none."""
    return (
        error.traceback
        if error.traceback.startswith(("Traceback", " "))
        else (f"{error.traceback}{error.exception}\n")
    )


def error_of(failure: Failure) -> TaskError:
    """The same of a failure that is just being recorded."""
    return TaskError(
        exception_class_path=failure.kind or "builtins.Exception", traceback=failure.traceback
    )


def _discarded(error: TaskError, attempts: int) -> TaskError:
    """The last error of a task that was given up says so."""
    times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return TaskError(
        exception_class_path=error.exception_class_path,
        traceback=f"Discarded after {times}.\n{error.traceback}",
    )


def _how_it_ended(job: Job, errors: Sequence[Error]) -> list[TaskError]:
    """A task that was cancelled while it waited has no attempt that could say so."""
    path = f"{Cancelled.__module__}.{Cancelled.__qualname__}"
    if not job.cancelled or (errors and errors[-1].kind == path):
        return []
    return [TaskError(exception_class_path=path, traceback=f"Cancelled while it waited: {job}\n")]


def _set(result: AnyResult, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)


def _text(moment: Any) -> str:
    return str(moment.isoformat())


def _moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
