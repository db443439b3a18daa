"""The hints of a service: the walk starts over from the top, again and again.

- While there is work it looks some thirty times a second for what is more urgent than the hints at
  hand, so that a job of higher priority overtakes those that have not started, however deep the
  backlog is. These are read anew once they are old, and when there are none left.
- While there is none it does so more and more seldom, up to a bound; but when the time of a job
  comes, and when somebody says that there is one, at once.
- While it takes long it does so for a twentieth of the time, and glances meanwhile: see glance.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from math import inf

from django_async.fetch import Fetch
from django_async.glance import SHARE_OF_TIME, Glance
from django_async.hints import Hint
from django_async.outlook import Outlook
from django_async.wake import ECHO, News
from django_async.walk import PATIENCE, Walk

REFRESH, REFRESH_AT_LEISURE = 0.02, 0.035
"""Seconds between two looks while there is work. The second is for who has hints at hand, so that
only the order wants a look, or hears of new jobs as they are committed."""

LEFT_AT_LEAST = 0.01
"""Seconds for which a job is left to the parent that is to take it first, if it is more urgent than
those of this one: it is looked for again before anything less urgent is handed out. So the order by
priority holds to within both together, and docs/semantics.md promises 50 ms."""

RENEWAL = 0.5
"""Seconds after which hints at hand are dropped and read anew: meanwhile they may have been given
other priorities, or a job may have come that is before them in time. (What was executed, cancelled
or put off is noticed by the claim, at the price of one.)"""

LEFT_FOR = 5.0
"""The same if it is no more urgent. To take it sooner would have all parents meet at the same jobs.
"""

LONGEST_PATIENCE = 10.0
"""Seconds. A job that cannot be claimed is offered after PATIENCE, then after twice as long, and so
on up to this: somebody else runs it, perhaps for an hour. (If that dies, see look_now().)"""


@dataclass(frozen=True, slots=True)
class Interval:
    """Seconds between two looks at a queue that had nothing to do: first, and at the most."""

    least: float
    most: float


class Patrol(Walk):
    """Walks through the due jobs for as long as a service runs."""

    def __init__(
        self, fetch: Fetch, batch_size: int, clock: Callable[[], float], interval: Interval
    ) -> None:
        super().__init__(fetch, batch_size, clock)
        self._interval = interval
        self._wait = 0.0
        self._looked = -REFRESH
        self._next_look = 0.0
        self._renewed = -inf
        self._glance = Glance(fetch, clock)
        self._heard = -inf
        self._echo = inf
        """When to look again because something was heard, however many looks lie in between. (Not
        while there are hints at hand: then no worker waits for what was not told.)"""
        self._losses: dict[int, int] = {}
        self._left_to_others: dict[int, float] = {}
        self._left_before: dict[int, float] = {}
        self._most_urgent_left = -inf
        """The highest priority of those that the latest reads left to others for the first time."""
        self._left_since = inf

    def take(self) -> Hint | None:
        if self._glance.is_on and not self._is_to_look:
            self._fill()  # which may take so long that it is time to look by then
        return self._look() if self._is_to_look else super().take()

    @property
    def at_hand(self) -> Hint | None:
        return None if self._is_to_look else super().at_hand

    @property
    def _is_to_look(self) -> bool:
        return self._clock() >= self._moment

    @property
    def _moment(self) -> float:
        """When to look again."""
        if not self._hints:
            return min(self._next_look, self._echo)
        if self._hints[0][1].priority < self._most_urgent_left:
            return min(self._next_look, self._left_since + LEFT_AT_LEAST)
        return self._next_look

    def lost(self, hint: Hint, *, taken: bool) -> None:
        self._held.discard(hint.id)
        if taken:
            return
        losses = self._losses[hint.id] = self._losses.get(hint.id, 0) + 1
        self._again[hint.id] = self._clock() + min(PATIENCE * 2 ** (losses - 1), LONGEST_PATIENCE)

    def ended(self, hint: Hint) -> None:
        super().ended(hint)
        self._losses.pop(hint.id, None)
        self._look_within(self._refresh)  # it may have scheduled others

    def hear(self, news: Iterable[News]) -> None:
        """Somebody says that there are new jobs. Those that are this parent's to take first are
        taken as they were told, or read by their ids. A look follows in any case: for what was not
        told of, and for jobs whose time is still to come."""
        for job in news:
            self._heard = self._clock()
            self._echo = min(self._echo, self._heard + self._until_echo)
            if job is None:
                self._look_within(REFRESH)
                continue
            job_id = job.id if isinstance(job, Hint) else job
            if not self.share.owns(job_id) or job_id in self._held:
                continue
            if isinstance(job, Hint) and self._fetch.selection.is_everything:
                self.put_back(job)
            else:
                self._again[job_id] = self._clock()

    def look_now(self) -> None:
        """Start over at the next turn, and offer again what could not be claimed: whoever held it
        may be dead."""
        self._losses.clear()
        self._again.clear()
        self._glance.expire()
        self._renewed = -inf
        self._next_look = 0.0

    def heed_pauses(self, paused: frozenset[str]) -> bool:
        are_new = super().heed_pauses(paused)
        if are_new:
            self.look_now()
        return are_new

    @property
    def finished(self) -> bool:
        return False

    @property
    def pause(self) -> float:
        """Seconds until there is something to look for."""
        return max(0.0, min([self._moment, *self._again.values()]) - self._clock())

    @property
    def _until_echo(self) -> float:
        """Seconds. Of several parents each hears all that is said, and together they look no more
        often than one would."""
        return min(ECHO * self.share.parents, REFRESH)

    @property
    def _refresh(self) -> float:
        return REFRESH_AT_LEISURE if self._hints or self.is_told else REFRESH

    def _look(self) -> Hint | None:
        """Look for what is more urgent than the hints at hand, or from the top; or, as long as that
        takes long, for what has come since."""
        self._looked = self._clock()
        if self._looked >= self._echo:  # what came right after the latest word may come still
            is_late = self._looked >= self._heard + self._until_echo
            self._echo = inf if is_late else self._looked + self._until_echo
        self._expect_nothing_of_others()
        outlook = None
        is_done = self._hints_are_fresh and self._adds_all_more_urgent()
        if not (is_done or self._glance.is_enough):
            outlook = self._look_from_the_top()
        if self._glance.is_enough:  # also right after a look that took long
            self._add_new()
        hint = super().take()
        if hint is None:
            self._look_later(outlook)
        else:
            self._look_soon()
        return hint

    @property
    def _hints_are_fresh(self) -> bool:
        is_young = self._looked < self._renewed + RENEWAL
        return bool(self._hints) and is_young and not self._glance.is_on

    def _look_from_the_top(self) -> Outlook | None:
        """Read the first page again; after a time without jobs only if there seem to be any."""
        self._glance.begin_look()
        outlook = self._glance.outlook() if self._wait or self._glance.is_on else None
        if outlook is None or outlook.due:
            self._start_over()
            self._fill()
        return outlook

    def _turn_page(self) -> None:
        with self._glance.timing():
            super()._turn_page()

    @property
    def _leaves_the_rest(self) -> bool:
        return self._glance.is_on

    def _adds_all_more_urgent(self) -> bool:
        """Add what is to precede some of the hints at hand. Whether that was all: there may be many
        that cannot be claimed in front of it, past which a look from the top reads."""
        least, limit = max(self._hints)[1], self._batch_size + self._in_hand
        with self._glance.timing():
            found = self._fetch.more_urgent(least, limit)
        self._add(self._new_and_mine(found))
        return len(found) < limit

    def _add_new(self) -> None:
        """Add what has come since."""
        found = self._glance.read(self._batch_size + self._in_hand)
        self._insert(self._new_and_mine(found))

    def _new_and_mine(self, found: list[Hint]) -> list[Hint]:
        new = [hint for hint in found if self._is_new(hint)]
        own = [hint for hint in new if self.share.owns(hint.id)]
        return self._and_what_is_left(own, new, [hint for _, hint in self._hints])

    def _start_over(self) -> None:
        """Drop the hints at hand: they are read again, with what has come since."""
        self._renewed = self._looked
        self._held.difference_update(hint.id for _, hint in self._hints)
        known = self._held | self._again.keys()
        self._losses = {job: number for job, number in self._losses.items() if job in known}
        self._left_before, self._left_to_others = self._left_to_others, {}
        self._hints, self._cursor, self._exhausted = [], None, False
        self._groups = set()  # a final job that was released is met as any other

    def _look_soon(self) -> None:
        """There is something to do: look again for what is more urgent."""
        self._wait = 0.0
        took = self._clock() - self._looked
        pause = self._glance.pause if self._glance.is_enough else SHARE_OF_TIME * took
        self._next_look = self._looked + took + max(self._refresh, pause)

    def _look_later(self, outlook: Outlook | None) -> None:
        """There is nothing to do: look more seldom, but be there when a job's time comes."""
        if self._glance.is_enough:
            self._wait = self._interval.least
            self._next_look = self._clock() + max(self._wait, self._glance.pause)
            return
        next_due = (outlook or self._glance.outlook()).next_due
        self._wait = min(max(2 * self._wait, self._interval.least), self._interval.most)
        pause = self._wait if next_due is None else min(self._wait, next_due)
        self._next_look = self._clock() + pause

    def _look_within(self, seconds: float) -> None:
        """Start over so long after the latest start, which is as soon as it is not too often."""
        pause = max(seconds, self._glance.pause)
        self._next_look = min(self._next_look, max(self._clock(), self._looked + pause))

    def _choose(self, hints: list[Hint]) -> list[Hint]:
        return self._and_what_is_left(self.share.of(hints), hints)

    def _and_what_is_left(
        self, chosen: list[Hint], hints: list[Hint], at_hand: Iterable[Hint] = ()
    ) -> list[Hint]:
        """What was chosen of the hints, and of what others have left where it was since last time
        that which is more urgent than some of it, or was left for long."""
        if self.share.parents == 1:
            return chosen
        ids = {hint.id for hint in chosen}
        least = min((hint.priority for hint in chain(chosen, at_hand)), default=-inf)
        return [hint for hint in hints if hint.id in ids or self._is_left(hint, least)]

    def _is_left(self, hint: Hint, least: float) -> bool:
        """Whether the owner does not come to it: it may be busy for an hour."""
        now = self._clock()
        since = self._left_to_others[hint.id] = self._left_before.get(hint.id, now)
        is_urgent = hint.priority > least
        if hint.id in self._left_before:
            return is_urgent or now >= since + LEFT_FOR
        if is_urgent:
            self._most_urgent_left = max(self._most_urgent_left, hint.priority)
            self._left_since = min(self._left_since, now)
        return False

    def _expect_nothing_of_others(self) -> None:
        """What was left to them so far is taken if it is still there."""
        self._left_before |= self._left_to_others
        self._most_urgent_left, self._left_since = -inf, inf
