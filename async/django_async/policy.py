"""What a job's ``meta`` says about its attempts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping

from django_async import conf
from django_async.conf import is_seconds
from django_async.errors import StopNow
from django_async.outcomes import History, default_backoff
from django_async.payload import UNREADABLE
from django_async.utils import object_at_end_of_path

logger = logging.getLogger(__name__)

About = Mapping[str, object] | None
"""The id and the name of a job, as payload.about() gives them to a log record."""


def history(
    meta: str, *, attempts: int, crashes: int, priority: int, about: About = None
) -> History:
    """A job's past and its own rules, from its row. Never raises: a failure must be recordable
    whatever stands in ``meta``. ``about`` goes with what is logged of the job's back-off."""
    found = options(meta)
    limit = found.get("max_attempts")
    return History(
        attempts=attempts,
        crashes=crashes,
        priority=priority,
        max_attempts=limit if isinstance(limit, int) and limit > 0 else None,
        max_crashes=conf.current().max_crashes,
        backoff=_backoff(found.get("backoff"), about),
    )


def is_atomic(meta: str) -> bool:
    """Whether the job runs in a transaction, as all do whose ``meta`` does not say otherwise."""
    return '"atomic"' not in meta or options(meta).get("atomic") is not False


def timeout(meta: str) -> float | None:
    """Seconds that the job may run: as its ``meta`` says, else as the settings do."""
    seconds = options(meta).get("timeout")
    if is_seconds(seconds) and isinstance(seconds, (int, float)) and seconds > 0:
        return float(seconds)
    return conf.current().timeout


def options(meta: str) -> dict[str, object]:
    """What stands in ``meta``; nothing where that is no JSON, or no dict."""
    if meta == "{}":  # as most are
        return {}
    try:
        found = json.loads(meta)
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def _backoff(value: object, about: About) -> Callable[[int], float]:
    """From seconds, or the path of a callable that is given the number of failed attempts."""
    if isinstance(value, (int, float)) and is_seconds(value):
        return lambda _: float(value)
    if isinstance(value, str):
        return lambda attempts: _ask(value, attempts, about)
    return default_backoff


def _ask(path: str, attempts: int, about: About) -> float:
    try:
        seconds = object_at_end_of_path(path)(attempts)
    except StopNow:
        raise
    except BaseException:  # whatever it raises, the failure has to be recorded
        logger.exception("The back-off %r failed; the default is used.", path, extra=about)
        return default_backoff(attempts)
    if is_seconds(seconds):
        return float(seconds)
    logger.error(
        "The back-off %r gave %r, no seconds; the default is used.", path, seconds, extra=about
    )
    return default_backoff(attempts)
