"""Jobs that ask which job they are, and tell how far they are."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django_async import current_job, schedule
from django_async.api import schedule_many
from django_async.current import CurrentJob
from django_async.models import Job

_kept: list[CurrentJob] = []


def me() -> CurrentJob:
    job = current_job()
    assert job is not None
    return job


def describe_itself() -> dict[str, Any]:
    return asdict(me())


def describe(job: Job, attempt: int) -> str:
    """What a job that describes itself returns, as its row has it."""
    return json.dumps(
        {
            "id": job.pk,
            "using": job._state.db,
            "name": job.name,
            "attempt": attempt,
            "queue": job.queue,
        }
    )


def fail_and_describe_itself(directory: str) -> dict[str, Any]:
    """Fail the first time."""
    mark = Path(directory) / "failed"
    if not mark.exists():
        mark.touch()
        raise ValueError("failed")
    return describe_itself()


def describe_around(inner: int) -> list[Any]:
    """Who this is before, within and after another job."""
    return [me().id, Job.objects.get(pk=inner).execute(), me().id]


def progress(*told: Any) -> None:
    me().progress(*told)


def progress_oddly() -> None:
    me().progress(1, 2, "nul \0 lone \ud800 " + "\U0001f600" * 1000)


def progress_in_thread() -> None:
    thread = threading.Thread(target=me().progress, args=[1, None, "in a thread"])
    thread.start()
    thread.join()


def keep_itself() -> None:
    _kept.append(me())


def progress_of_kept() -> None:
    _kept.pop().progress(1)


def read_title(_secret: str) -> str:
    """What this process is called while the job runs."""
    return Path("/proc/self/cmdline").read_text().rstrip("\0")


def schedule_in_all_ways() -> list[int]:
    """Schedule one job, and two at once; their ids."""
    many = schedule_many([{"function": me}, {"function": progress, "args": [1]}])
    return [job.pk for job in (schedule(me), *many)]
