"""A database that is away: what is tried when, and what is said about it."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

logger = logging.getLogger(__name__)

SHORTEST, LONGEST = 0.05, 1.0
"""Seconds between two tries: the first one, and the most that doubling makes of it. It bounds how
long a database that is back stands idle."""


@dataclass(slots=True)
class Outage:
    """Whether the database is away, since when, and when to try again.

    Each change of state is one line in the log, however many tries lie in between.
    """

    clock: Callable[[], float]
    using: str = "default"
    _since: float | None = None
    _delay: float = 0.0
    _next: float = -inf

    @property
    def is_on(self) -> bool:
        """Whether the database is away, as far as anybody knows."""
        return self._since is not None

    @property
    def pause(self) -> float:
        """Seconds until it is to be tried again."""
        return max(0.0, self._next - self.clock())

    def note(self, error: str) -> None:
        """A try has failed. Parents that wait for one database come back at different moments."""
        now = self.clock()
        if self._since is None:
            logger.warning(
                "The database is away (%r); it is tried again until it is back: %s",
                self.using,
                error,
            )
            self._since = now
            # One that comes back for a moment only is tried no more often for it: it may be there
            # for the parent, and have no session to spare for its workers.
            if now > self._next + LONGEST:
                self._delay = 0.0
        elif now < self._next:  # several workers tell of one and the same try
            return
        self._delay = min(max(self._delay * 2, SHORTEST), LONGEST)
        self._next = now + self._delay * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def may_be_over(self) -> None:
        """It is to be tried now."""
        self._next = self.clock()

    def end(self) -> None:
        """Something has gone through."""
        if self._since is not None:
            seconds = self.clock() - self._since
            logger.warning("The database is back (%r), after %.1f s.", self.using, seconds)
            self._since = None
