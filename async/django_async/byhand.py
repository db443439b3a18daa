"""Scheduling by people: in the admin, and over HTTP.

An application may schedule whatever it likes. Somebody who types a name is another matter: what
ASYNC["SCHEDULABLE"] does not have is refused before anything is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_async import conf
from django_async.api import schedule
from django_async.errors import FunctionNotAllowed, UnknownFunction
from django_async.models import Job, Statistic
from django_async.slots import FUNCTION
from django_async.utils import canonical, check_path, has_prefix, object_at_end_of_path, own_name

META = ("atomic", "backoff", "max_attempts", "timeout")
"""What people may say about attempts. Other keys are between an application and its jobs."""

OFFERED = 200
"""Functions that a person is offered."""

REFUSED = (FunctionNotAllowed, UnknownFunction)
"""What is raised for a path."""


def schedule_by_hand(function: str, meta: Mapping[str, Any] | None = None, **others: Any) -> Job:
    """As ``schedule()``, with its keywords, for a function that people may schedule.

    Raises as ``schedule()`` does, FunctionNotAllowed (a ValueError) included.
    """
    _check_meta(meta)
    return schedule(check_schedulable(function), meta=meta, **others)


def check_schedulable(path: str) -> str:
    """The path, as it is stored, of a function that people may schedule.

    Raises FunctionNotAllowed, and UnknownFunction for what leads nowhere; both are ValueErrors.
    """
    path = check_path(canonical(path))
    _check_named(path, path)
    target = object_at_end_of_path(path)
    if "." in path:  # what a module has only imported lives elsewhere
        _check_named(own_name(target), path)
    return path


def may_be_scheduled(path: str) -> bool:
    """Whether there is such a function, and people may schedule it."""
    try:
        check_schedulable(path)
    except ValueError:
        return False
    return True


def offers() -> list[str]:
    """Functions that people may schedule: those that the settings name themselves, and those below
    a prefix of theirs that were attempted in the last days."""
    attempted = Statistic.objects.filter(scope=FUNCTION).values_list("label", flat=True)
    paths = {*conf.current().schedulable, *attempted.distinct()}
    return sorted(path for path in paths if may_be_scheduled(path))[:OFFERED]


def _check_named(name: str, path: str) -> None:
    if not any(has_prefix(name, one) for one in conf.current().schedulable):
        raise FunctionNotAllowed(
            f'{path!r} may not be scheduled by hand: ASYNC["SCHEDULABLE"] does not have it.'
        )


def _check_meta(meta: Mapping[str, Any] | None) -> None:
    """A back-off may be the path of a function, which a worker will call."""
    if not isinstance(meta, Mapping):
        return  # to be refused by schedule(), or None
    if unknown := [key for key in meta if key not in META]:
        raise ValueError(f"meta has the keys {unknown!r:.80}; by hand it takes {', '.join(META)}.")
    if isinstance(backoff := meta.get("backoff"), str):
        check_schedulable(backoff)
