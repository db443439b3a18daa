"""Texts that come from anywhere, in a database that may not have all characters.

What a job raises or shows goes into the queue's own rows. A database with another character set
than Unicode's (latin1, or MySQL's utf8 of three bytes) refuses some of it: that is written with
backslashes then, for a row that says less is better than none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.db import DatabaseError, transaction

Spelling = Callable[[str], str]


def write(act: Callable[[Spelling], object], texts: Iterable[str], using: str) -> None:
    """Write rows with these texts: ``act`` is told how to spell each of them, and is called again,
    with another spelling, if the database refuses the first one."""
    if all(text.isascii() for text in texts):
        act(str)
        return
    try:
        with transaction.atomic(using=using):
            act(str)
    except (DatabaseError, UnicodeEncodeError):
        act(escaped)


def escaped(text: str) -> str:
    """The text in ASCII."""
    return text.encode("ascii", "backslashreplace").decode()
