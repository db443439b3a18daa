"""Whatever can, or cannot, be called by its path; and jobs that use the API from inside."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from django_async import current_job, many, schedule
from django_async.api import deschedule, schedule_many
from django_async.errors import JobNotRunnable
from django_async.models import Job
from suite.interrupted import be_interrupted
from suite.jobs import note as reexported
from suite.models import Note
from suite.together import elsewhere

__all__ = ["reexported"]


def plain(*args: Any, **kwargs: Any) -> list[Any]:
    """A function of a module, which returns what it was given."""
    return [list(args), kwargs]


class Clerk:
    """A class, whose instances can be called."""

    def __call__(self) -> None:
        """An instance has no path."""

    def of_instance(self) -> None:
        """Bound to an instance, it has no path."""

    @classmethod
    def of_class(cls, text: str) -> str:
        Note.objects.create(text=f"{cls.__name__}: {text}")
        return cls.__name__

    @staticmethod
    def static(text: str) -> str:
        Note.objects.create(text=f"static: {text}")
        return text

    class Drawer:
        """A class in a class."""

        @staticmethod
        def static() -> str:
            return "drawer"


class Trainee(Clerk):
    """Inherits its class method."""


anonymous = lambda: None  # noqa: E731 - a lambda is what is to be refused
clerk = Clerk()
prepared = partial(plain, 1)
number = 42


def nested() -> Callable[[], None]:
    """A function that no path leads to."""

    def inner() -> None:
        """Seen from nowhere."""

    return inner


def own_name() -> str:
    """Which function a path through a re-export really leads to."""
    return own_name.__qualname__


def schedules(text: str) -> int:
    """Schedule one job, and many."""
    one = schedule(reexported, [text])
    many = schedule_many([{"function": reexported, "args": [f"{text} {n}"]} for n in range(2)])
    return one.pk + len(many)


async def schedules_asynchronously() -> int:
    """Schedule one job, from a coroutine."""
    return int((await sync_to_async(schedule)(reexported)).pk)


def schedules_itself(times: int) -> None:
    """Schedule the next run, so many times."""
    if times:
        schedule(schedules_itself, [times - 1])


def schedules_many_in_its_trace(traceparent: str) -> None:
    """Schedule one job without, and one with a word about its trace."""
    schedule_many([{"function": plain}, {"function": plain, "meta": {"traceparent": traceparent}}])


def schedules_and_fails(text: str) -> None:
    """Schedule one job, and fail."""
    schedules(text)
    raise ValueError(text)


def cancels(path: str, *args: Any) -> int:
    """Deschedule a call from inside a job, which guarantees that it will not run any more."""
    return deschedule(path, list(args))


def cancels_and_fails(path: str, *args: Any) -> None:
    """Deschedule a call, and fail."""
    deschedule(path, list(args))
    raise ValueError("cancelled, but failed")


def cancels_in(using: str, path: str) -> int:
    """Deschedule a call without arguments in this database."""
    return deschedule(path, using=using)


def open_transactions() -> list[str]:
    """The databases that this stands in a transaction of."""
    return [alias for alias in connections if connections[alias].in_atomic_block]


def swallows_the_refusal() -> str:
    """Go on after a refused call, of which nothing was written."""
    try:
        with transaction.atomic():
            schedule(plain, [{1}])
    except TypeError as error:
        return str(error)
    return "not refused"


meeting = multiprocessing.get_context("fork").Barrier(2)
"""Where two jobs in two forked workers wait for each other, so that both are running."""


def meets_and_cancels(number: int) -> int:
    """Wait until the other one of two such jobs runs too, then deschedule it."""
    with suppress(threading.BrokenBarrierError):  # a second attempt comes alone
        meeting.wait(10)
    return deschedule(meets_and_cancels, [1 - number])


def cancels_its_own_call(*using: str) -> int:
    """Deschedule the call that is running here, in the database that is named or the default."""
    return deschedule(cancels_its_own_call, using, using=using[0] if using else None)


def has_loaded(module: str) -> bool:
    """Whether the process that runs this has imported the module."""
    return module in sys.modules


gate = threading.Event()
"""Where a job of this process waits until a test lets it through."""

arrived = threading.Event()
"""Set when a job waits at the gate."""


def waits_at_gate(*, fails: bool = False) -> str:
    """Run until the test opens the gate, and then end as asked."""
    Note.objects.create(text="at the gate")
    arrived.set()
    assert gate.wait(30)
    if fails:
        raise ValueError("stumbled behind the gate")
    return "through"


def ends_as_planned(ends: list[str]) -> None:
    """Wait at the gate, and then end as is planned for this attempt."""
    waits_at_gate()
    job = current_job()
    assert job is not None
    match ends[job.attempt - 1]:
        case "raise":
            raise ValueError("as planned")
        case "interrupted":
            be_interrupted()


def close_gate() -> None:
    """As it is before a test."""
    gate.clear()
    arrived.clear()


def cancels_gate(*, fails: bool = False) -> int:
    """Deschedule the call that waits at the gate."""
    return deschedule(waits_at_gate, kwargs={"fails": fails} if fails else None)


def meets() -> None:
    """Wait until another job does the same, so that both end at once."""
    meeting.wait(30)


def cancels_running_calls(path: str | None = None) -> int:
    """Deschedule a call, also if it runs; without a path, this very one."""
    if path is None:
        return deschedule(cancels_running_calls, running=True)
    return deschedule(path, running=True)


def listening_sockets() -> int:
    """How many sockets the process that runs this listens on (Linux tells)."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as one:
            found += bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return found


def note_elsewhere_and_fail(using: str, text: str) -> None:
    """Have an effect in the job's database and in another one, and fail."""
    Note.objects.create(text=text)
    Note.objects.using(using).create(text=text)
    raise ValueError("failed after both")


def note_elsewhere_in_a_block(using: str, text: str) -> int:
    """Have an effect in a transaction of another database; what everybody sees of it then."""
    with transaction.atomic(using=using, durable=True):
        Note.objects.using(using).create(text=text)
    return elsewhere(Note.objects.using(using).filter(text=text).count)


def cancels_itself() -> bool:
    job = current_job()
    assert job
    return Job.objects.get(pk=job.id).cancel()


def gives_itself_another_time(verb: str) -> Any:
    """How many jobs ``retry_failed()`` says to have had; or what the job's own verb raises."""
    job = current_job()
    assert job
    if verb == "retry_failed":
        return Job.objects.retry_failed()
    row = Job.objects.get(pk=job.id)
    try:
        row.reschedule(timedelta(hours=1)) if verb == "reschedule" else row.retry()
    except JobNotRunnable as error:
        return str(error)
    return row.state


def changes_all(verb: str) -> str:
    """What comes of doing it to all jobs, the caller included, and what becomes of its own row."""
    job = current_job()
    assert job
    every, before = Job.objects.all(), Job.objects.filter(pk=job.id).values().get()
    values = [5] if verb == "prioritise" else []
    tally = getattr(many, verb)(every, *values)
    assert Job.objects.filter(pk=job.id).values().get() == before
    return str(tally)
