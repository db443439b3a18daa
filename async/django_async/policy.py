"""What a job's ``meta`` says about its attempts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from django_async import conf
from django_async.conf import bounded, is_seconds
from django_async.errors import StopNow
from django_async.outcomes import History, default_backoff
from django_async.payload import TASK, UNREADABLE
from django_async.utils import object_at_end_of_path

logger = logging.getLogger(__name__)

Ask = Callable[[str], object]
"""Calls the back-off of a task, by its path; gives seconds, or None to give the task up."""

About = Mapping[str, object] | None
"""The id and the name of a job, as payload.about() gives them to a log record."""


def history(
    meta: str,
    *,
    attempts: int,
    crashes: int,
    priority: int,
    about: About = None,
    died: bool = False,
    ask: Ask | None = None,
) -> History:
    """A job's past and its own rules, from its row. Never raises: a failure must be recordable
    whatever stands in ``meta``. ``about`` goes with what is logged of the job's back-off, ``ask``
    calls that of a task, and ``died`` says whether the worker did."""
    found = options(meta)
    ask = ask if isinstance(found.get(TASK), dict) else None
    backoff = found.get("backoff")
    says_nothing = backoff is None and found.get("max_attempts") is None
    is_final = ask is not None and says_nothing and not died
    limit = found.get("max_attempts")
    return History(
        attempts=attempts,
        crashes=crashes,
        priority=priority,
        max_attempts=limit if isinstance(limit, int) and limit > 0 else None,
        max_crashes=conf.current().max_crashes,
        backoff=_give_up if is_final else _backoff(backoff, about, ask),
    )


def is_atomic(meta: str) -> bool:
    """Whether the job runs in a transaction, as all do whose ``meta`` does not say otherwise."""
    return '"atomic"' not in meta or options(meta).get("atomic") is not False


def is_task(meta: str) -> bool:
    """Whether the job is one of Django's task framework."""
    return f'"{TASK}"' in meta and isinstance(options(meta).get(TASK), dict)


def task(meta: str) -> dict[str, Any]:
    """What makes the job a task: its result's ``id``, its ``backend``, ``priority`` and more."""
    found = options(meta).get(TASK)
    kept = found if isinstance(found, dict) else {}
    return {"id": "", "backend": "default", "priority": 0, **kept}


def timeout(meta: str) -> float | None:
    """Seconds that the job may run: as its ``meta`` says, else as the settings do."""
    seconds = options(meta).get("timeout")
    if is_seconds(seconds) and isinstance(seconds, (int, float)) and seconds > 0:
        return bounded(seconds)
    return conf.current().timeout


@lru_cache(maxsize=16)  # an attempt asks for several of them
def options(meta: str) -> Mapping[str, object]:
    """What stands in ``meta``; nothing where that is no JSON, or no dict."""
    if meta == "{}":  # as most are
        return {}
    try:
        found = json.loads(meta)
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def _give_up(_: int) -> None:
    """What an exception means to a task that says nothing about it, as with Django's own backends.
    The death of a worker is nothing that the task has done, and follows the queue's rule."""


def _backoff(value: object, about: About, ask: Ask | None) -> Callable[[int], float | None]:
    """From seconds, or the path of a callable that is given the number of failed attempts; that of
    a task is given more."""
    if isinstance(value, (int, float)) and is_seconds(value):
        return lambda _: float(value)
    if isinstance(value, str):
        return lambda attempts: _ask(value, attempts, about, ask)
    return default_backoff


def _ask(path: str, attempts: int, about: About, ask: Ask | None) -> float | None:
    try:
        seconds = ask(path) if ask else object_at_end_of_path(path)(attempts)
    except StopNow:
        raise
    except BaseException:  # whatever it raises, the failure has to be recorded
        logger.exception("The back-off %r failed; the default is used.", path, extra=about)
        return default_backoff(attempts)
    if isinstance(seconds, (int, float)) and is_seconds(seconds):
        return float(seconds)
    if seconds is None and ask:
        return None
    logger.error(
        "The back-off %r gave %r, no seconds; the default is used.", path, seconds, extra=about
    )
    return default_backoff(attempts)
