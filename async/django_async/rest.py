"""How long a parent hears nothing of its workers, while enough lies ahead for them.

To wake for the end of each job takes it as long as what there is to do then. If it wakes for
several ends at once, they share that. A word of new jobs or the operator's ends a rest, and so does
a death.
"""

from __future__ import annotations

from forkpool import Pool

LONGEST, FIRST = 0.005, 0.001
"""Seconds. The end of a job is seen so much later. The second one is where it begins to learn how
long a rest may be."""

GROWTH = 1.25


class Rest:
    """Learns how long a rest may be: if more than half of what lay ahead is left at its end, the
    next one is longer; if less than a quarter is, shorter."""

    def __init__(self) -> None:
        self._seconds = FIRST
        self._ahead = 0

    def begin(self, pool: Pool) -> float:
        """The seconds for which nothing needs to be heard; none while more could be handed out."""
        self._ahead = 0 if pool.room else pool.ahead
        return self._seconds if self._ahead else 0.0

    def end(self, pool: Pool) -> None:
        """See what it has left."""
        if not self._ahead:
            return
        left = pool.ahead / self._ahead
        if left < 1 / 4:
            self._seconds /= 2
        elif left > 1 / 2:
            self._seconds = min(GROWTH * self._seconds, LONGEST)
