"""What a service reads while a look from the top takes long.

Such a look reads past all that lies in the index before the first job that is due: with a filter,
the jobs that it leaves out; and beside a transaction that stays open for an hour, all that were
executed in that hour, since no server may take them out of its index meanwhile. It is made seldom
then. In between, the service *glances* at what has come since: at the jobs whose id is greater than
all that there were, and at those whose time has come. That takes as long as there is of it.

What a glance cannot see is found by the next look from the top:

- a job that was scheduled before the look before the latest, and committed after it: it has an old
  id (the ids that one leaves room for are those of the time between the two),
- one that was there and waits elsewhere now: retried or rescheduled at a priority at which nothing
  waited, or of another priority. (One that has failed comes back one priority lower, and is seen.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from django_async import fetch
from django_async.fetch import Bounds, Fetch
from django_async.hints import Hint
from django_async.outcomes import LOWEST_PRIORITY
from django_async.outlook import Outlook, outlook

SLOW = 0.02
"""Seconds from which on a read from the top takes long: below, there is one within 35 ms after each
end of a job, and it holds the 50 ms that docs/semantics.md promises."""

SHARE_OF_TIME = 20
"""A read that took long is made as much more seldom, so that such reads take no more than this part
of the time."""

SHARE_OF_GLANCES = 5
"""The same for glances. They are what keeps the order: one that takes up to 10 ms, as on a busy
machine, must not keep the next one away for longer than 40."""


class Glance:
    """The look from the top that was the latest, and what has come since."""

    def __init__(self, reads: Fetch, clock: Callable[[], float]) -> None:
        self._reads, self._clock = reads, clock
        self._seen: list[Bounds] = []
        """What there was when the latest two looks began, the older one first; nothing while they
        are quick."""
        self._priorities: set[int] = set()
        self._began = -inf
        self._slow_for = 0.0
        self._took = 0.0

    @property
    def is_on(self) -> bool:
        """Whether looks from the top take long, and it is known what there was before two of them:
        what is no longer new was seen by both."""
        return len(self._seen) == 2

    @property
    def is_enough(self) -> bool:
        """Whether it is too early for another look from the top."""
        return self.is_on and self._clock() < self._began + SHARE_OF_TIME * self._slow_for

    @property
    def pause(self) -> float:
        """Seconds to leave between two glances, beside what else is to be kept."""
        return (SHARE_OF_GLANCES - 1) * self._took

    def begin_look(self) -> None:
        """A look from the top begins. If the last one was slow, note what there is before it."""
        was_slow = self._slow_for > 0
        self._began, self._slow_for, self._took = self._clock(), 0.0, 0.0
        with self.timing():
            self._seen = [*self._seen[-1:], fetch.bounds(self._reads.using)] if was_slow else []

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Within the block something is read that belongs to the look from the top."""
        began = self._clock()
        yield
        took = self._clock() - began
        if took > SLOW:
            self._slow_for += took

    def outlook(self) -> Outlook:
        """What is to be expected. The priorities are remembered, with those below each of them, to
        which a failure lowers a job."""
        with self.timing():
            found = outlook(self._reads.using)
        self._priorities = {
            lower for one in found.priorities for lower in (one, max(one - 1, LOWEST_PRIORITY))
        }
        return found

    def read(self, limit: int) -> list[Hint]:
        """What has come since the look before the latest: what was scheduled before the latest one
        may have been committed after it."""
        began = self._clock()
        found = self._reads.since(self._seen[0], sorted(self._priorities), limit)
        self._took = self._clock() - began
        return found

    def expire(self) -> None:
        """The next look has to be one from the top."""
        self._began = -inf
