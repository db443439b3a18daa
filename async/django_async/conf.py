"""The setting ``ASYNC``: one dict, validated once, all of its problems reported together."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

DEFAULT_BATCH_SIZE = 64
DEFAULT_MAX_CRASHES = 3
DEFAULT_TIMEOUT = 3600.0
DEFAULT_TIMEOUT_GRACE = 5.0

DEFAULT_POLL_MIN = 0.05
DEFAULT_POLL_MAX = 1.0

LONGEST_TIMEOUT = 10 * 365 * 86_400.0
"""Seconds. Ten years are as good as never, and a timer takes no more than some 9 * 10**9."""

LONGEST_RETENTION = 10 * LONGEST_TIMEOUT
"""Seconds. So long ago is still a date that every database can hold."""

SHORTEST_TOKEN = 20
"""Characters: as many as cannot be tried out."""

TOKEN = rf"[A-Za-z0-9\-._~+/=]{{{SHORTEST_TOKEN},}}"

KNOWN = (
    "ALLOWED_FUNCTIONS",
    "BATCH_SIZE",
    "COALESCE",
    "HTTP_TOKEN",
    "MAX_CRASHES",
    "NOTIFY",
    "POLL_MAX",
    "POLL_MIN",
    "RETENTION",
    "SCHEDULABLE",
    "STOP_GRACE",
    "TIMEOUT",
    "TIMEOUT_GRACE",
)

TIMES = ("poll_max", "poll_min", "retention", "stop_grace", "timeout", "timeout_grace")
"""Those that are seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``ASYNC`` says, with the defaults filled in."""

    allowed_functions: tuple[str, ...] | None = None
    """Prefixes of the functions that may be jobs: ``"shop."`` allows all below,
    ``"shop.jobs.send"`` just that function (and what is below it, were it a class). None allows
    every function."""

    batch_size: int = DEFAULT_BATCH_SIZE
    """How many due jobs are looked up at a time. A batch is a list of hints, not a claim."""

    coalesce: bool = True
    """Whether BEGIN, claim and SAVEPOINT travel to PostgreSQL as one message, and so do RELEASE,
    mark and COMMIT. Switch it off behind a pooler that does not take several statements at once."""

    max_crashes: int | None = DEFAULT_MAX_CRASHES
    """After so many deaths of its worker a job is discarded; None is never."""

    timeout: float | None = DEFAULT_TIMEOUT
    """Seconds that a job may run, unless its ``meta`` says otherwise; None is without a limit. A
    transaction that is open for long keeps PostgreSQL's vacuum from its work."""

    timeout_grace: float = DEFAULT_TIMEOUT_GRACE
    """Seconds from a job's timeout to the SIGTERM for its worker, and from there to SIGKILL."""

    notify: bool = True
    """Whether PostgreSQL tells idle services of new jobs. Without it they find them when they look;
    so they do behind a pooler that gives each transaction another session."""

    poll_min: float = DEFAULT_POLL_MIN
    """Seconds between two looks of a service that has just run out of jobs."""

    poll_max: float = DEFAULT_POLL_MAX
    """Seconds between two looks of a service that has been idle for a while."""

    stop_grace: float | None = None
    """Seconds that running jobs have after a signal to stop; then they are rolled back, and are due
    as before. None waits for their end."""

    retention: float | None = None
    """Seconds that a service keeps jobs which have ended; None keeps them for ever."""

    schedulable: tuple[str, ...] = ()
    """Prefixes, as in ``allowed_functions``, of the functions that people may schedule by hand, in
    the admin and over HTTP. Without any they may schedule none."""

    http_token: str | None = field(default=None, repr=False)
    """Who sends it as ``Authorization: Bearer`` may read the endpoints without being a user."""


@cache
def current() -> Settings:
    """The validated settings.

    Raises ImproperlyConfigured, naming every problem at once.
    """
    raw = getattr(settings, "ASYNC", {})
    if wrong := problems(raw):
        raise ImproperlyConfigured(" ".join(wrong))
    found = {key.lower(): raw[key] for key in raw}
    for key in ("allowed_functions", "schedulable"):
        if found.get(key) is not None:
            found[key] = tuple(found[key])
    return Settings(**{key: _bounded(key, value) for key, value in found.items()})


def bounded(seconds: float, longest: float = LONGEST_TIMEOUT) -> float:
    """A time as those take it who have to wait for it."""
    return min(float(seconds), longest)


def _bounded(key: str, value: Any) -> Any:
    if key not in TIMES or value is None:
        return value
    return bounded(value, LONGEST_RETENTION if key == "retention" else LONGEST_TIMEOUT)


def problems(raw: object) -> list[str]:
    """Everything that is wrong with the dict, a sentence each, with what would be right."""
    if not isinstance(raw, Mapping):
        return [f"ASYNC must be a dict, not {type(raw).__name__}."]
    found = [_unknown(key) for key in raw if key not in KNOWN]
    if not _is_names(raw.get("ALLOWED_FUNCTIONS")):
        found.append(
            'ASYNC["ALLOWED_FUNCTIONS"] must be None or a list of prefixes such as'
            ' ["shop.", "billing.jobs.send"].'
        )
    if raw.get("SCHEDULABLE", ()) is None or not _is_names(raw.get("SCHEDULABLE")):
        found.append('ASYNC["SCHEDULABLE"] must be a list of prefixes such as ["shop.jobs."].')
    if not _is_token(raw.get("HTTP_TOKEN")):
        found.append(
            'ASYNC["HTTP_TOKEN"] must be None or a text of letters, digits and -._~+/= alone, of'
            f" {SHORTEST_TOKEN} characters at least."
        )
    if not _is_whole(raw.get("BATCH_SIZE", DEFAULT_BATCH_SIZE), 1, 10_000):
        found.append('ASYNC["BATCH_SIZE"] must be a whole number from 1 to 10000.')
    crashes = raw.get("MAX_CRASHES", DEFAULT_MAX_CRASHES)
    if crashes is not None and not _is_whole(crashes, 1, 2**31 - 1):
        found.append('ASYNC["MAX_CRASHES"] must be a whole number from 1, or None.')
    found += [
        f'ASYNC["{key}"] must be True or False.'
        for key in ("COALESCE", "NOTIFY")
        if not isinstance(raw.get(key, True), bool)
    ]
    return found + _problems_of_times(raw)


def _problems_of_times(raw: Mapping[Any, Any]) -> list[str]:
    found = []
    for key, default in (("TIMEOUT", DEFAULT_TIMEOUT), ("RETENTION", None)):
        if (value := raw.get(key, default)) is not None and not _is_above_0(value):
            found.append(f'ASYNC["{key}"] must be a number of seconds above 0, or None.')
    if not is_seconds(raw.get("TIMEOUT_GRACE", DEFAULT_TIMEOUT_GRACE)):
        found.append('ASYNC["TIMEOUT_GRACE"] must be a number of seconds from 0.')
    if (grace := raw.get("STOP_GRACE")) is not None and not is_seconds(grace):
        found.append('ASYNC["STOP_GRACE"] must be a number of seconds from 0, or None.')
    least, most = raw.get("POLL_MIN", DEFAULT_POLL_MIN), raw.get("POLL_MAX", DEFAULT_POLL_MAX)
    if not (_is_above_0(least) and _is_above_0(most) and least <= most):
        found.append(
            'ASYNC["POLL_MIN"] and ASYNC["POLL_MAX"] must be numbers of seconds above 0, of which'
            f" the first is not the greater one; they are {least!r} and {most!r}."
        )
    return found


def _is_above_0(value: Any) -> bool:
    return is_seconds(value) and value > 0


def _unknown(key: object) -> str:
    near = get_close_matches(str(key).upper(), KNOWN, n=1, cutoff=0.0)
    return f'ASYNC has no setting {key!r}: did you mean "{near[0]}"?'


def _is_names(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) and name for name in value
    )


def _is_token(value: Any) -> bool:
    """Whether it is None, or can stand in a header as RFC 6750 has it, and is long enough."""
    if value is None:
        return True
    return isinstance(value, str) and re.fullmatch(TOKEN, value) is not None


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_seconds(value: Any) -> bool:
    """Whether the value is a finite number from 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= sys.float_info.max


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "ASYNC":
        current.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_async.conf")
