"""The setting ``ASYNC``: one dict, validated once, all of its problems reported together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

DEFAULT_BATCH_SIZE = 64

KNOWN = ("ALLOWED_FUNCTIONS", "BATCH_SIZE")


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``ASYNC`` says, with the defaults filled in."""

    allowed_functions: tuple[str, ...] | None = None
    """Prefixes of the functions that may be jobs: ``"shop."`` allows all below,
    ``"shop.jobs.send"`` just that function (and what is below it, were it a class). None allows
    every function."""

    batch_size: int = DEFAULT_BATCH_SIZE
    """How many due jobs are looked up at a time. A batch is a list of hints, not a claim."""


@cache
def current() -> Settings:
    """The validated settings.

    Raises ImproperlyConfigured, naming every problem at once.
    """
    raw = getattr(settings, "ASYNC", {})
    if found := problems(raw):
        raise ImproperlyConfigured(" ".join(found))
    allowed = raw.get("ALLOWED_FUNCTIONS")
    return Settings(
        allowed_functions=None if allowed is None else tuple(allowed),
        batch_size=raw.get("BATCH_SIZE", DEFAULT_BATCH_SIZE),
    )


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
    if not _is_size(raw.get("BATCH_SIZE", DEFAULT_BATCH_SIZE)):
        found.append('ASYNC["BATCH_SIZE"] must be a whole number from 1 to 10000.')
    return found


def _unknown(key: object) -> str:
    near = get_close_matches(str(key).upper(), KNOWN, n=1, cutoff=0.0)
    return f'ASYNC has no setting {key!r}: did you mean "{near[0]}"?'


def _is_names(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) and name for name in value
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "ASYNC":
        current.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_async.conf")
