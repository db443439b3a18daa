"""One attempt at one job, made in each way there is, and what is looked for afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_async.models import Job
from suite.models import Account, Entry, Note

WAYS = ("execute", "flush", "worker")


def attempt(job: Job, way: str, flush: Callable[..., Any]) -> Job:
    """Attempt the job once, whatever comes of it, and return it as it is then."""
    if way == "execute":
        try:
            job.execute()
        except BaseException:  # noqa: BLE001 - jobs raise anything; their errors are in their rows
            pass
    else:
        flush(workers=int(way == "worker"), filter=job.name, jobs=1)
    return Job.objects.get(pk=job.pk)


def notes() -> list[str]:
    """The texts that jobs have left, in their order."""
    return list(Note.objects.order_by("id").values_list("text", flat=True))


def assert_one_failure(job: Job, *words: str) -> None:
    """The job looks as after a first failure, and its one error has the words in its exception."""
    [error] = job.errors.all()
    for word in words:
        assert word in error.exception, f"{word!r} is not in {error.exception!r}"
    state = (job.state, job.attempts, job.priority, job.started, job.executed, job.result)
    assert state == ("failed", 1, 4, None, None, ""), state


def assert_no_effects() -> None:
    """The one job is all there is."""
    for model in (Note, Account, Entry):
        assert not model._default_manager.exists(), f"a {model.__name__} was kept"
    assert Job.objects.count() == 1, list(Job.objects.all())
