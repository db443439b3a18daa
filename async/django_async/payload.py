"""What a job carries as JSON: its arguments, its options (``meta``) and its result."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha1
from typing import Any

from django_async.conf import is_seconds
from django_async.utils import check_allowed, check_path

logger = logging.getLogger(__name__)

LONGEST_LABEL = 200
"""Characters of a call, or of an exception, that a line shows."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_encode = json.JSONEncoder(allow_nan=False).encode
_decode = json.JSONDecoder().decode

UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)
"""What reading a row's JSON raises where it is none, or is not a list and a dict."""

TASK = "django.tasks"
"""The key of ``meta`` under which a job keeps what makes it a task of Django's framework."""

META_KEYS = (
    *("atomic", "backoff", TASK, "max_attempts", "timeout"),
    *("traceparent", "tracestate", "tracelink"),
)
"""The keys of ``meta`` that mean something to the queue."""


def dump_args(args: Any) -> str:
    """Positional arguments as JSON. Raises TypeError or ValueError, naming the argument."""
    if args is None:
        return "[]"
    if not isinstance(args, (list, tuple)):
        raise TypeError(f"args must be a list or a tuple, not {type(args).__name__}: {args!r:.80}")
    return _dump(args, "args")


def dump_kwargs(kwargs: Any) -> str:
    """Keyword arguments as JSON. Raises TypeError or ValueError, naming the argument."""
    return _dump_mapping(kwargs, "kwargs")


def dump_meta(meta: Any, name: str | None = None) -> str:
    """The options of a job of this name as JSON; unknown ones are kept for the job itself.

    Raises TypeError or ValueError for options that the queue knows and cannot take.
    """
    text = _dump_mapping(meta, "meta")
    if meta:
        _check_meta(meta, name)
    return text


def dump_result(result: Any) -> str:
    """A job's result as JSON. Raises TypeError or ValueError if it has none."""
    return _encode(result)


def load(text: str) -> Any:
    """The other way round. Raises one of UNREADABLE, of which ValueError for what is no JSON."""
    return _decode(text)


def signature(name: str, args: str, kwargs: str) -> str:
    """``name(1, 'b', key=None)``: how a job is written, from its stored JSON."""
    positional = [repr(value) for value in json.loads(args)]
    named = sorted(f"{key}={value!r}" for key, value in json.loads(kwargs).items())
    return f"{name}({', '.join(positional + named)})"


def identity(name: str, args: str, kwargs: str) -> str:
    """The SHA-1 of the signature in hex, as 0.7.3 stored it: equal calls have equal identities."""
    return identity_of(signature(name, args, kwargs))


def identity_of(signature: str) -> str:
    """The same, of a signature."""
    text = signature.encode("utf-8", "surrogatepass")
    return sha1(text, usedforsecurity=False).hexdigest()


def label(name: str, args: str, kwargs: str) -> str:
    """The signature for people: on one line, shortened, and readable even if the JSON is broken."""
    try:
        text = signature(name, args, kwargs)
    except UNREADABLE:  # a broken row is shown too: that is why it failed
        text = name
    return short(text)


def short(text: str) -> str:
    """The text, or its beginning, on one line."""
    return printable(text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…")


def label_of_beginning(name: str, args: str, kwargs: str) -> str:
    """The same, from the beginnings of its stored JSON, which may be cut anywhere."""
    given = [text[1:] for text in (args, kwargs) if text not in ("[]", "{}")]
    return printable(f"{name}({', '.join(given)}"[: LONGEST_LABEL - 1] + "…")


@dataclass(frozen=True, slots=True)
class Call:
    """A stored call, of which the label is made when it is wanted: of most jobs it never is."""

    name: str
    args: str
    kwargs: str

    def __str__(self) -> str:
        return label(self.name, self.args, self.kwargs)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Elsewhere it is its label: arguments may be large."""
        return str, (str(self),)


def about(job_id: int | None, name: str | None) -> dict[str, object]:
    """What each log record about a job carries beside its text: ``extra=about(…)``."""
    return {"job_id": job_id, "job_name": name}


def printable(text: str) -> str:
    """The text on one line: line breaks, control characters and marks of direction escaped, so that
    a name or an argument cannot forge a line of a log."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _dump_mapping(value: Any, where: str) -> str:
    if value is None or (isinstance(value, dict) and not value):
        return "{}"
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a dict, not {type(value).__name__}: {value!r:.80}")
    return _dump(dict(value), where)


def _dump(value: Any, where: str) -> str:
    try:
        _check(value, where)
        return _encode(value)
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply, or contains itself.") from error


def _check(value: Any, where: str) -> None:
    """Raise unless the value comes back from JSON as it went in (tuples come back as lists)."""
    if value is None or isinstance(value, str):
        return
    if isinstance(value, int):
        _check_digits(value, where)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON cannot hold.")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]")
    elif isinstance(value, dict):
        _check_dict(value, where)
    else:
        raise TypeError(
            f"{where} is {type(value).__module__}.{type(value).__qualname__}, which JSON cannot"
            " hold: pass a primary key, a string or a number, and look the object up in the job."
        )


def _check_digits(value: int, where: str) -> None:
    """Python limits the digits of a number that it writes or reads as text."""
    try:
        repr(value)
    except ValueError as error:
        raise ValueError(f"{where} is a number with too many digits: {error}") from error


def _check_dict(value: dict[Any, Any], where: str) -> None:
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(
                f"{where} has the key {key!r}: JSON turns it into a string, so give one."
            )
        _check(item, f"{where}[{key!r}]")


def _check_meta(meta: Mapping[str, Any], name: str | None) -> None:
    _check_max_attempts(meta.get("max_attempts"))
    _check_backoff(meta.get("backoff"))
    _check_timeout(meta.get("timeout"))
    if not isinstance(meta.get("atomic", True), bool):
        raise ValueError(
            'meta["atomic"] must be True, or False for a job that runs outside of any transaction,'
            f" not {meta['atomic']!r:.80}."
        )
    for key in meta:
        if key in META_KEYS:
            continue
        if near := get_close_matches(key, META_KEYS, n=1, cutoff=0.8):
            logger.warning(
                "meta has the unknown key %r: did you mean %r?",
                key,
                near[0],
                extra=about(None, name),
            )


def _check_max_attempts(value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f'meta["max_attempts"] must be a whole number from 1, not {value!r}.')


def _check_backoff(value: Any) -> None:
    """Seconds, or the path of a callable that is given the number of failed attempts."""
    if isinstance(value, str):
        check_allowed(check_path(value))
    elif value is not None and not is_seconds(value):
        raise ValueError(
            'meta["backoff"] must be a number of seconds from 0, or the dotted path of a callable'
            f" that returns one, not {value!r}."
        )


def _check_timeout(value: Any) -> None:
    if value is not None and not (is_seconds(value) and value > 0):
        raise ValueError(f'meta["timeout"] must be a number of seconds above 0, not {value!r}.')
