"""For tests, also in a plain TestCase: run the tasks that are due, see what was enqueued."""

from __future__ import annotations

from typing import Any

from django_async import home, runner
from django_async.hints import Hint
from django_async.models import Job, JobQuerySet
from django_async.tasks import results
from django_async.tasks.framework import AnyResult, AnyTask

__all__ = ["assert_enqueued", "assert_nothing_enqueued", "enqueued", "run_tasks"]


def run_tasks(*, using: str | None = None) -> list[AnyResult]:
    """Attempt the tasks that are due, in the queue's order, here and now, as a worker would; and
    those that they enqueue. Each is attempted once. Returns how they are then, in that order.

    What a task raises is in its result. Raises JobNotRunnable inside ``atomic()``, the transaction
    of Django's TestCase excepted.
    """
    using = home.of_queue(using)
    runner.refuse_open_transaction(using)
    attempted: list[int] = []
    while job := _tasks(using).due().exclude(pk__in=attempted).in_order().first():
        attempted.append(job.pk)
        hint = Hint(job.pk, job.attempts, job.priority, job.scheduled, job.group_id, job.meta)
        runner.run_job(hint, using)
    found = {job.pk: job for job in _tasks(using).filter(pk__in=attempted)}
    return [results.of_job(found[pk]) for pk in attempted if pk in found]


def enqueued(task: AnyTask | None = None, *, using: str | None = None) -> list[AnyResult]:
    """The results of the tasks that wait, of this one or of all, the oldest first."""
    jobs = _tasks(home.of_queue(using)).pending().order_by("pk")
    if task is not None:
        jobs = jobs.filter(name=task.module_path)
    return [results.of_job(job) for job in jobs]


def assert_enqueued(
    task: AnyTask, *args: Any, _using: str | None = None, **kwargs: Any
) -> AnyResult:
    """Return the one result that waits of this task with these arguments; AssertionError, with what
    does wait, if there is none or more than one."""
    found = enqueued(using=_using)
    matches = [one for one in found if _is_call(one, task, args, kwargs)]
    if len(matches) == 1:
        return matches[0]
    listed = "\n".join(f"  {_call(one)}" for one in found) or "  nothing"
    how_often = f"{len(matches)} times" if matches else "not at all"
    raise AssertionError(
        f"{task.module_path} was enqueued {how_often} with {args!r} and {kwargs!r}. What waits:\n"
        f"{listed}"
    )


def assert_nothing_enqueued(task: AnyTask | None = None, *, using: str | None = None) -> None:
    """AssertionError, with what waits, if there is something (of this task)."""
    if found := enqueued(task, using=using):
        raise AssertionError("Enqueued are:\n" + "\n".join(f"  {_call(one)}" for one in found))


def _tasks(using: str) -> JobQuerySet:
    return Job.objects.using(using).filter(task_id__isnull=False)


def _is_call(result: AnyResult, task: AnyTask, args: Any, kwargs: Any) -> bool:
    return (
        result.task.module_path == task.module_path
        and result.args == list(args)
        and result.kwargs == kwargs
    )


def _call(result: AnyResult) -> str:
    named = [f"{key}={value!r}" for key, value in result.kwargs.items()]
    return f"{result.task.module_path}({', '.join([*map(repr, result.args), *named])})"
