"""What an engine is given, and what it says in return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from django_async.hints import Hint
from django_async.outcomes import Cancelled, Executed, Failed, Outcome

Attempt = Callable[[Hint, str, str], Outcome | tuple[Any, ...]]
"""Attempts a job, given the hint, the alias of its database and the token of the parent."""


class Reporter(Protocol):
    """Shows an operator what goes on."""

    def handed_out(self, number: int, hint: Hint) -> None:
        """The job got this place in the sequence of hand-outs."""

    def taken_back(self, number: int, hint: Hint) -> None:
        """The job had not begun, and will get another place."""

    def ended(self, outcome: Executed | Failed | Cancelled) -> None:
        """An attempt ended."""


class Stop(Protocol):
    """Whether an operator asked to stop, and how often."""

    @property
    def count(self) -> int: ...

    @property
    def hangups(self) -> int: ...

    def drain(self) -> None: ...


@dataclass(slots=True)
class Summary:
    """What was done."""

    executed: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0
    first_failure: Failed | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """How the engine runs."""

    limit: int | None = None
    """How many jobs are attempted at the most."""
    keep_going: bool = False
    """Whether a failure leaves it running."""
    grace: float | None = None
    """Seconds that running jobs have after the first signal; None waits for their end."""
