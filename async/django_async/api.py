"""What applications call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from django.db import transaction

from django_async import cancelling, clock, current, home, inserts, pausing, payload, tracing, wake
from django_async.errors import AsyncError
from django_async.health import health
from django_async.hints import Hint
from django_async.models import Group, Job
from django_async.retention import remove_before
from django_async.turn import take_turn
from django_async.utils import check_allowed, check_path, full_name

__all__ = [
    "deschedule",
    "health",
    "pause_queue",
    "paused_queues",
    "remove_old_jobs",
    "resume_queue",
    "schedule",
    "schedule_many",
]

KEYWORDS = {
    "function",
    "args",
    "kwargs",
    "run_after",
    "meta",
    "priority",
    "group",
    "queue",
}

PRIORITIES = range(-(2**31), 2**31)
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
LONGEST_NAME, LONGEST_QUEUE, LONGEST_REFERENCE = 255, 100, 255


def schedule(
    function: Callable[..., Any] | str,
    args: list[Any] | tuple[Any, ...] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    run_after: datetime | timedelta | None = None,
    meta: Mapping[str, Any] | None = None,
    priority: int = 5,
    *,
    group: Group | str | None = None,
    queue: str = "default",
    using: str | None = None,
) -> Job:
    """Put a call into the queue. The job exists if, and only if, the caller's transaction commits.

    ``function`` is a function of a module, a class method, a static method, or a dotted path.
    Arguments must survive JSON; tuples inside them come back as lists. ``run_after`` is a moment
    (a naive one is in the current time zone) or a timedelta from now, by the database's clock;
    without it the job is due at once, after those of its priority that have a time. Higher
    ``priority`` runs first. ``meta``: ``max_attempts`` (after so many failures the job is
    discarded), ``backoff`` (seconds, or the dotted path of a callable that is given the number of
    failed attempts and returns seconds); other keys are kept for the job. ``group`` is a Group or
    the reference of one. ``using`` is the alias of the queue's database.

    Raises TypeError or ValueError, naming the argument, for what cannot be stored (nothing is
    written then), and ValidationError if the group takes no more jobs.
    """
    using = home.of_queue(using)
    now = partial(clock.utc_now, using)
    job = build(function, args, kwargs, run_after, meta, priority, queue, now)
    job.group = _find_group(_check_group(group), using)
    put(job, using)
    return job


def schedule_many(jobs: Iterable[Mapping[str, Any]], *, using: str | None = None) -> list[Job]:
    """Put many calls into the queue, all or none; each is a dict of ``schedule()``'s keywords.

    The number of statements does not grow with the number of jobs up to 10,000. Returns the jobs,
    with their ids. Raises as ``schedule()`` does, naming the job by its index.
    """
    using = home.of_queue(using)
    groups: dict[Any, Group | None] = {}
    now = cache(partial(clock.utc_now, using))
    names = _Names()
    built = [_build_one(index, job, now, names) for index, job in enumerate(jobs)]
    with transaction.atomic(using=using):
        take_turn(using)
        for job, group in built:
            job.group = _joined(groups, group, using)
        ready = [job for job, _ in built]
        inserts.many(ready, using)
        if ready:
            wake.on_commit(using)
    return ready


def deschedule(
    function: Callable[..., Any] | str,
    args: list[Any] | tuple[Any, ...] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    running: bool = False,
    using: str | None = None,
) -> int:
    """Cancel every pending job that is this very call; returns how many there were.

    From application code it never waits for a job: one that is running now is left alone, and may
    yet be executed. (On SQLite it waits, as every write does there.) Called inside a job it waits
    for matching jobs that are running, its own excepted: when the calling job commits, each match
    was executed before or is cancelled and will never run.

    With ``running`` it waits for none, wherever it is called: those that are running (its own
    excepted) are asked to be cancelled, as ``Job.cancel()`` does it, and counted.
    """
    using = home.of_queue(using)
    identity = payload.identity(
        check_path(full_name(function)), payload.dump_args(args), payload.dump_kwargs(kwargs)
    )
    own = current.own_id(using)
    if running:
        return cancelling.cancel_running_too(identity, using, but=own)
    return cancelling.cancel(identity, using, wait=own is not None, but=own)


def pause_queue(queue: str | None = None, *, using: str | None = None) -> None:
    """Have no job of this queue handed out any more, or of any queue, on all hosts, as the caller's
    transaction commits; what runs goes on. It holds until ``resume_queue()`` with the same name."""
    pausing.pause(_queue(queue), home.of_queue(using))


def resume_queue(queue: str | None = None, *, using: str | None = None) -> bool:
    """Undo ``pause_queue()`` with the same name, or without one; False if it was not paused so.

    A pause of every queue and one of this queue are two: each has to be undone.
    """
    return pausing.resume(_queue(queue), home.of_queue(using))


def paused_queues(*, using: str | None = None) -> set[str | None]:
    """The names by which queues are paused; None stands for every queue."""
    return {name or None for name in pausing.paused(home.of_queue(using))}


def remove_old_jobs(remove_jobs_before_days: float = 30, resched_hours: float = 8) -> None:
    """Delete what ended more than so many days ago, and schedule this again after so many hours.

    A job without a group goes when it is that old; those of a group, and the group, when all are.
    What somebody has locked, or what cannot be deleted, is left.
    """
    job = current.current_job()
    using = home.of_queue(job.using if job else None)
    age = timedelta(days=remove_jobs_before_days)
    remove_before(clock.as_field_value(clock.utc_now(using) - age), using)
    schedule(
        remove_old_jobs,
        args=[remove_jobs_before_days, resched_hours],
        run_after=timedelta(hours=resched_hours),
        using=using,
    )


def _name(function: Any) -> str:
    return _text(check_allowed(check_path(full_name(function))), "name", LONGEST_NAME)


def build(
    function: Any,
    args: Any,
    kwargs: Any,
    run_after: Any,
    meta: Any,
    priority: Any,
    queue: Any,
    now: clock.Now,
    name_of: Callable[[Any], str] = _name,
) -> Job:
    """The job, validated and not saved."""
    name = name_of(function)
    job = _new_job(
        name=name,
        args=payload.dump_args(args),
        kwargs=payload.dump_kwargs(kwargs),
        meta=payload.dump_meta(tracing.carry(meta), name),
        scheduled=None if run_after is None else clock.moment(run_after, now),
        priority=checked_priority(priority),
        queue=checked_queue(queue),
    )
    job.identity = payload.identity(job.name, job.args, job.kwargs)
    return job


def put(job: Job, using: str) -> None:
    """Insert the job, and tell the services of it as the caller's transaction commits."""
    inserts.one(job, using)
    wake.on_commit(using, Hint(job.pk, 0, job.priority, job.scheduled, job.group_id, job.meta))


def _new_job(**values: Any) -> Job:
    """By position: Django takes three times as long to make an instance from keywords."""
    new: Callable[..., Job] = Job
    return new(*(_defaults() | values).values())


@cache
def _defaults() -> dict[str, Any]:
    return {field.attname: field.get_default() for field in Job._meta.concrete_fields}


class _Names:
    """The names of functions, each of which is found and checked once."""

    def __init__(self) -> None:
        self._known: dict[Any, str] = {}

    def __call__(self, function: Any) -> str:
        try:
            return self._known[function]
        except TypeError:  # cannot be hashed, so it is no function either
            return _name(function)
        except KeyError:
            self._known[function] = name = _name(function)
            return name


def _build_one(
    index: int, job: Mapping[str, Any], now: clock.Now, name_of: Callable[[Any], str]
) -> tuple[Job, Group | str | None]:
    try:
        _check_keywords(job)
        return _from_keywords(**job, now=now, name_of=name_of)
    except AsyncError as error:
        raise type(error)(f"jobs[{index}]: {error}") from error
    except TypeError as error:
        raise TypeError(f"jobs[{index}]: {error}") from error
    except ValueError as error:
        raise ValueError(f"jobs[{index}]: {error}") from error


def _check_keywords(job: Any) -> None:
    if not isinstance(job, Mapping):
        raise TypeError(f"a job is a dict of schedule()'s keywords, not {job!r:.80}")
    if "function" not in job:
        raise TypeError("the keyword 'function' is missing")
    if unknown := set(job) - KEYWORDS:
        known = ", ".join(sorted(KEYWORDS))
        raise TypeError(f"unknown keywords {sorted(map(str, unknown))}; known are {known}")


def _from_keywords(
    function: Any,
    args: Any = None,
    kwargs: Any = None,
    run_after: Any = None,
    meta: Any = None,
    priority: Any = 5,
    group: Group | str | None = None,
    queue: Any = "default",
    *,
    now: clock.Now,
    name_of: Callable[[Any], str],
) -> tuple[Job, Group | str | None]:
    job = build(function, args, kwargs, run_after, meta, priority, queue, now, name_of)
    return job, _check_group(group)


def _check_group(group: Any) -> Group | str | None:
    if group is None:
        return None
    if isinstance(group, Group):
        if group.pk is None:
            raise ValueError(f"group [{group.reference}] is not saved yet: no job can refer to it.")
        return group
    if not isinstance(group, str):
        raise TypeError(f"group must be a Group or the reference of one, not {group!r}.")
    return _text(group, "group", LONGEST_REFERENCE)


def _find_group(group: Group | str | None, using: str) -> Group | None:
    return Group.latest_group_by_reference(group, using) if isinstance(group, str) else group


def _joined(groups: dict[Any, Group | None], group: Group | str | None, using: str) -> Group | None:
    """The group, looked up and found open to new jobs once for all that join it."""
    key = group.pk if isinstance(group, Group) else group
    if key not in groups:
        groups[key] = _find_group(group, using)
        if found := groups[key]:
            found.check_open(using)
    return groups[key]


def _queue(name: Any) -> str:
    """As a pause has it: empty for every queue."""
    return "" if name is None else checked_queue(name)


def checked_queue(name: Any) -> str:
    """The name of a queue; raises TypeError or ValueError for what is none."""
    return _text(name, "queue", LONGEST_QUEUE)


def checked_priority(priority: Any) -> int:
    """The priority; raises TypeError or ValueError for what is none."""
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise TypeError(f"priority must be a whole number, not {priority!r}.")
    if priority not in PRIORITIES:
        raise ValueError(f"priority must fit 32 bits, and {priority} does not.")
    return int(priority)


def _is_storable(value: str) -> bool:
    return UNSTORABLE.search(value) is None


def _text(value: Any, what: str, longest: int) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{what} must be a text that is not empty, not {value!r}.")
    if not _is_storable(value):
        raise ValueError(f"{what} has a NUL or half a surrogate pair, which no database holds.")
    if len(value) > longest:
        raise ValueError(f"{what} has {len(value)} characters, and {longest} fit: {value!r:.80}")
    return value
