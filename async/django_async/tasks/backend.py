"""The backend: tasks of Django's framework are jobs of this queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from django_async.tasks.framework import (
    AnyResult,
    AnyTask,
    BaseTaskBackend,
    InvalidTask,
    TaskResultDoesNotExist,
    task_enqueued,
)
from django_async.tasks.task import POLICY, AsyncTask, as_stored, declared, restored

if TYPE_CHECKING:
    from django_async.models import Job

Call = tuple[Sequence[Any], Mapping[str, Any]]

OPTIONS = (*POLICY, "using")


class AsyncBackend(BaseTaskBackend):
    """Enqueues in the caller's transaction, in the database of the queue.

    ``OPTIONS``: ``max_attempts``, ``backoff``, ``timeout``, ``metadata`` and ``atomic``, which hold
    for tasks that say nothing else (see AsyncTask), and ``using``, the alias of the database.
    """

    task_class = AsyncTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: AnyTask) -> None:
        """Raise InvalidTask, naming what is wrong with it. ``run_after`` may be a timedelta."""
        when: Any = task.run_after
        super().validate_task(restored(task, run_after=None) if _is_wait(when) else task)
        try:
            declared(task)
        except (TypeError, ValueError) as error:
            raise InvalidTask(str(error)) from error

    def enqueue(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AnyResult:
        """Make it a job, as the caller's transaction commits.

        Raises InvalidTask, and TypeError or ValueError for arguments that JSON cannot hold.
        """
        from django_async import api

        self.validate_task(task)
        job, result = self._prepared(task, args, kwargs)
        api.put(job, self.using)
        self._tell(result)
        return result

    def enqueue_many(self, task: AnyTask, calls: Iterable[Call]) -> list[AnyResult]:
        """Enqueue the task once for each pair of args and kwargs, all or none, in few statements.

        Raises as enqueue() does, naming the call by its index; nothing is written then.
        """
        from django_async import inserts, wake

        self.validate_task(task)
        prepared = [self._numbered(index, task, *call) for index, call in enumerate(calls)]
        inserts.many([job for job, _ in prepared], self.using)
        if prepared:
            wake.on_commit(self.using)
        for _, result in prepared:
            self._tell(result)
        return [result for _, result in prepared]

    async def aenqueue_many(self, task: AnyTask, calls: Iterable[Call]) -> list[AnyResult]:
        """See enqueue_many()."""
        return await sync_to_async(self.enqueue_many, thread_sensitive=True)(task, calls)

    def get_result(self, result_id: str) -> AnyResult:
        """The result as it is now. Raises TaskResultDoesNotExist; and UnknownFunction if the code
        has no such task any more."""
        from django_async.tasks import results

        job = results.find(result_id, self.using)
        if job is None:
            raise TaskResultDoesNotExist(result_id)
        return results.of_job(job)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Errors for settings that cannot work."""
        found = [*super().check(**kwargs)]
        if not apps.is_installed("django_async"):
            found.append(
                checks.Error(
                    f"TASKS[{self.alias!r}] needs the application of its backend.",
                    hint="Add 'django_async' to INSTALLED_APPS.",
                    id="async.E002",
                )
            )
        found += [
            checks.Error(f"TASKS[{self.alias!r}]: {problem}", id="async.E003")
            for problem in self._problems()
        ]
        return found

    @property
    def using(self) -> str:
        """The alias of the database that gets the jobs."""
        from django_async import home

        return home.of_queue(self.options.get("using"))

    def _numbered(
        self, index: int, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Job, AnyResult]:
        try:
            return self._prepared(task, args, kwargs)
        except (TypeError, ValueError) as error:
            raise type(error)(f"calls[{index}]: {error}") from error

    def _prepared(
        self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Job, AnyResult]:
        """The job, not saved, and its result."""
        from django_async.tasks import results

        return results.prepared(task, args, kwargs, self.alias, self.using, self._policy)

    @property
    def _policy(self) -> dict[str, Any]:
        """What OPTIONS say about attempts. Raises ImproperlyConfigured."""
        if not self.options:
            return {}
        if problems := self._problems():
            raise ImproperlyConfigured(f"TASKS[{self.alias!r}]: {' '.join(problems)}")
        return {
            name: as_stored(name, value) for name, value in self.options.items() if name in POLICY
        }

    def _problems(self) -> list[str]:
        found = []
        for name, value in self.options.items():
            if name not in OPTIONS:
                found.append(f"OPTIONS has the unknown {name!r}; known are {', '.join(OPTIONS)}.")
            elif name == "using" and value not in settings.DATABASES:
                found.append(f"OPTIONS['using'] is {value!r}, and there is no such database.")
            elif name in POLICY and value is not None:
                found += _problem(as_stored, name, value)
        for name in self.queues:
            if not 0 < len(str(name)) <= 100:
                found.append(f"QUEUES has {name!r:.120}: a name has 1 to 100 characters.")
        return found

    def _tell(self, result: AnyResult) -> None:
        """The job is written: a receiver that raises is logged, and changes nothing of that."""
        task_enqueued.send_robust(type(self), task_result=result)


def _is_wait(when: Any) -> bool:
    """Of what Django's documentation allows and its own checks do not know."""
    return isinstance(when, timedelta)


def _problem(check: Callable[[str, Any], Any], name: str, value: Any) -> list[str]:
    try:
        check(name, value)
    except (TypeError, ValueError) as error:
        return [f"OPTIONS: {error}"]
    return []
