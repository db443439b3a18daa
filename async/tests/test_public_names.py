"""The names and signatures that applications may rely on. A change here is a change for them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import django_async
import forkpool
from django_async import api, current, errors, helpers, models, signals, stats, utils

SCHEDULE = (
    "(function, args=None, kwargs=None, run_after=None, meta=None, priority=5,"
    " *, group=None, queue='default', using=None)"
)
MANAGER = (
    *("pending", "finished", "due", "waiting", "executed", "cancelled", "discarded", "failed"),
    *("running", "retry_failed"),
)


def signature(function: Callable[..., Any]) -> str:
    """How the function is called, without its types."""
    found = inspect.signature(function)
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in found.parameters.values()
    ]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def own(model: type) -> set[str]:
    """The public names that a class defines itself, Django's additions apart."""
    names = {name for name in vars(model) if not name.startswith("_")}
    added = {"DoesNotExist", "MultipleObjectsReturned", "NotUpdated", "objects", "id"}
    return {name for name in names - added if not name.startswith(("get_next_", "get_previous_"))}


def test_the_package() -> None:
    assert set(django_async.__all__) == {"__version__", "current_job", "schedule"}
    assert django_async.schedule is api.schedule
    assert django_async.current_job is current.current_job
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = django_async.no_such_name


def test_the_api() -> None:
    assert set(api.__all__) == {
        *("deschedule", "health", "remove_old_jobs", "schedule", "schedule_many"),
        *("pause_queue", "paused_queues", "resume_queue"),
    }


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (api.schedule, SCHEDULE),
        (api.schedule_many, "(jobs, *, using=None)"),
        (api.deschedule, "(function, args=None, kwargs=None, *, running=False, using=None)"),
        (api.pause_queue, "(queue=None, *, using=None)"),
        (api.resume_queue, "(queue=None, *, using=None)"),
        (api.paused_queues, "(*, using=None)"),
        (api.remove_old_jobs, "(remove_jobs_before_days=30, resched_hours=8)"),
        (utils.full_name, "(item)"),
        (utils.object_at_end_of_path, "(path)"),
        (helpers.clear_queue, "(func)"),
        (stats.estimate_rough_queue_completion, "(*, using=None)"),
        (stats.estimate_current_job_completion, "()"),
        (stats.estimate_queue_completion, "(*, using=None)"),
        (models.Job.execute, "(self)"),
        (models.Job.cancel, "(self)"),
        (models.Job.retry, "(self)"),
        (models.Job.reschedule, "(self, when)"),
        (models.Group.on_completion, "(self, job)"),
        (models.Group.has_completed, "(self, exclude=None)"),
        (models.Group.latest_executed_job, "(self)"),
        (models.Group.estimate_execution_duration, "(self)"),
        (models.Group.latest_group_by_reference, "(reference, using=None)"),
    ],
)
def test_signatures(function: Callable[..., Any], wanted: str) -> None:
    assert signature(function) == wanted
    assert function.__doc__


def test_health_takes_an_estimate() -> None:
    parameter, using = inspect.signature(api.health).parameters.values()
    assert parameter.name == "estimation_fn"
    assert parameter.default is stats.estimate_rough_queue_completion
    assert str(using.replace(annotation=inspect.Parameter.empty)) == "using=None"
    assert using.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", [*MANAGER, "in_order"])
def test_queries(name: str) -> None:
    assert signature(getattr(models.JobQuerySet, name)) == "(self)"
    assert own(models.JobQuerySet) == {*MANAGER, "in_order"}


def test_a_jobs_attributes() -> None:
    assert own(models.Job) == {
        *("name", "args", "kwargs", "meta", "result", "priority", "queue", "identity"),
        *("attempts", "crashes", "stamp", "group", "group_id", "errors", "ends"),
        *("added", "scheduled", "started", "executed", "cancelled", "discarded"),
        *("task_id", "worker", "scheduled_by"),
        *("state", "execute", "cancel", "retry", "reschedule", "runs", "save"),
    }


def test_a_groups_attributes() -> None:
    assert own(models.Group) == {
        *("reference", "description", "created", "final", "final_id", "open_reference", "jobs"),
        *("on_completion", "has_completed", "latest_executed_job", "check_open", "save"),
        *("check_may_reopen", "estimate_execution_duration", "latest_group_by_reference"),
        "estimate_from",
    }


def test_an_errors_attributes() -> None:
    assert own(models.Error) == {
        *("job", "job_id", "executed", "exception", "traceback"),
        *("kind", "started", "worker"),
    }


def test_a_running_jobs_attributes() -> None:
    fields = {field.name for field in dataclasses.fields(current.CurrentJob)}
    assert fields == {"id", "using", "name", "attempt", "queue"}
    assert signature(current.CurrentJob.progress) == "(self, done, total=None, message='')"


def test_errors() -> None:
    tree = {
        name: value.__mro__[1].__name__
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert tree == {
        "AsyncError": "Exception",
        "UnknownFunction": "AsyncError",
        "FunctionNotAllowed": "AsyncError",
        "JobNotRunnable": "AsyncError",
        "JobEnded": "JobNotRunnable",
        "Cancelled": "AsyncError",
        "NoticesUnavailable": "AsyncError",
        "AttemptFailed": "AsyncError",
        "TransactionAbused": "AsyncError",
        "MarkedForRollback": "TransactionAbused",
        "ConnectionClosed": "TransactionAbused",
        "TransactionEnded": "TransactionAbused",
        "TransactionOpen": "TransactionAbused",
        "JobRowGone": "TransactionAbused",
        "QueueStopped": "AsyncError",
        "StopNow": "BaseException",
    }


def test_signals() -> None:
    assert set(signals.__all__) == {
        "worker_started",
        "job_started",
        *("job_executed", "job_failed", "job_discarded", "job_cancelled"),
    }


def test_the_pool() -> None:
    assert set(forkpool.__all__) == {
        *("ForkPool", "InlinePool", "Pool", "StopSignals", "Task", "Ended"),
        *("PoolError", "ForkUnavailable", "NotPicklable", "NotRunning", "PoolBusy"),
        *("StartFailed", "TaskRaised", "WorkerDied", "TaskTimeout", "TimeLimitExceeded"),
        *("ForkExecutor", "as_completed", "soft_time_limit", "explain_memory_error", "tell_parent"),
        *("interruptible", "TaskInterrupted", "WorkerInterrupted", "show", "Running"),
        *("reap_strays", "retire", "was_interrupted", "under_way", "NeverUnderWay"),
    }
    for name in forkpool.__all__:
        assert getattr(forkpool, name).__module__.startswith("forkpool.")
