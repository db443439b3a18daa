"""The hints of one pass, in the order in which they are handed out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from heapq import heappop, heappush
from operator import itemgetter
from typing import Any

from django_async.fetch import Fetch
from django_async.hints import Hint, Share
from django_async.wake import News

PATIENCE = 0.1
"""Seconds before a job that could not be claimed is offered again."""

ROUND = 32
"""By how many jobs the size of a page may differ from that of another one."""

OFFERS = 2
"""How often a job that cannot be claimed is offered in one pass: whoever holds it will run it."""


class Walk:
    """Goes once through the due jobs.

    Pages are read behind each other; what has to be offered again (a job that somebody held, one
    whose worker died, a final job that was released) is read again by its id and takes its place in
    the order among the hints that are still here.

    Attributes:
        share: what of each page is taken first; the engine keeps it up to date.
        is_told: whether it hears of new jobs; likewise.
        skipped: number of jobs that were given up because they could not be claimed.
    """

    def __init__(self, fetch: Fetch, batch_size: int, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._batch_size = batch_size
        self._clock = clock
        self._hints: list[tuple[tuple[Any, ...], Hint]] = []
        self._held: set[int] = set()
        self._cursor: Hint | None = None
        self._exhausted = False
        self._again: dict[int, float] = {}
        self._offers: dict[int, int] = {}
        self._groups: set[int] = set()
        self.share = Share()
        self.is_told = False
        self.skipped = 0

    def take(self) -> Hint | None:
        """The next hint, or None if there is none now."""
        self._fill()
        return self.take_at_hand() if self._hints else None

    def take_at_hand(self) -> Hint:
        """The next hint of those that are at hand."""
        return heappop(self._hints)[1]

    @property
    def at_hand(self) -> Hint | None:
        """The next hint, if it can be told without a look at the database."""
        if not self._hints or self._groups or self._is_due_again:
            return None
        return self._hints[0][1]

    @property
    def _is_due_again(self) -> bool:
        """Whether a job is to be offered again by now."""
        return bool(self._again) and min(self._again.values()) <= self._clock()

    def count(self, at_most: int) -> int:
        """How many jobs there are to offer, counted no further than so many."""
        return self._fetch.count(at_most)

    def queued(self) -> list[Hint]:
        """The hints at hand, in order."""
        return [hint for _, hint in sorted(self._hints, key=itemgetter(0))]

    def put_back(self, hint: Hint) -> None:
        """Offer a hint again, at its place: it was not tried."""
        self._held.add(hint.id)
        heappush(self._hints, (hint.order, hint))

    def offer_again(self, hint: Hint) -> None:
        """The hint was handed out and not tried. Its queue may be paused by now."""
        if self._fetch.selection.paused:
            self._read_again([hint])
        else:
            self.put_back(hint)

    def lost(self, hint: Hint, *, taken: bool) -> None:
        """The hint could not be claimed: offer the job again a little later, but not for ever."""
        self._held.discard(hint.id)
        if taken:
            return
        self._offers[hint.id] = self._offers.get(hint.id, 0) + 1
        if self._offers[hint.id] < OFFERS:
            self._again[hint.id] = self._clock() + PATIENCE
        else:
            self.skipped += 1

    def failed(self, hint: Hint) -> None:
        """The attempt failed: offer the job again if it is still due (its worker died)."""
        self.ended(hint)
        self._again[hint.id] = self._clock()

    def ended(self, hint: Hint) -> None:
        """The attempt is over: a final job may have waited for it."""
        self._held.discard(hint.id)
        if hint.group is not None:
            self._groups.add(hint.group)

    def hear(self, news: Iterable[News]) -> None:
        """There are new jobs. They are not this pass's."""

    def look_now(self) -> None:
        """What could not be claimed may be free by now: a pass comes to it anyway."""

    def heed_pauses(self, paused: frozenset[str]) -> bool:
        """Offer nothing of these queues; whether they are others than before. Then the hints at
        hand are read again, without them."""
        if paused == self._fetch.selection.paused:
            return False
        self._fetch.selection = replace(self._fetch.selection, paused=paused)
        self._read_again(self.queued())
        self._hints = []
        return True

    def _read_again(self, hints: Iterable[Hint]) -> None:
        for hint in hints:
            self._held.discard(hint.id)
            self._again[hint.id] = self._clock()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to offer, now or later."""
        return self._exhausted and not (self._hints or self._again or self._groups)

    @property
    def pause(self) -> float | None:
        """Seconds until something is to be offered again; None if nothing is."""
        if not self._again:
            return None
        return max(0.0, min(self._again.values()) - self._clock())

    def _fill(self) -> None:
        """Have the next hint at hand, if there is one now."""
        if self._again or self._groups:
            self._bring_back()
        if not self._hints and not self._exhausted:
            self._turn_page()

    def _bring_back(self) -> None:
        now = self._clock()
        ready = [job_id for job_id, when in self._again.items() if when <= now]
        hints = self._fetch.again(ready)
        for job_id in ready:  # only now: the database may have been away
            del self._again[job_id]
        self._insert(hints)
        if self._groups:
            self._insert(self._fetch.finals(self._groups))
            self._groups = set()

    def _turn_page(self) -> None:
        """Read on until a page has something new, or until the end. Of a page that is not taken
        whole, the rest is looked at again when that is done."""
        while not self._hints and not self._exhausted:
            size = self._size
            page = self._fetch.page(self._cursor, size)
            fresh = [hint for hint in page if self._is_new(hint)]
            taken = self._choose(fresh)
            self._add(taken)
            if len(taken) == len(fresh) or self._leaves_the_rest:
                self._cursor = page[-1] if page else self._cursor
                self._exhausted = len(page) < size

    @property
    def _size(self) -> int:
        """How many jobs to read: a batch, and as many for each of the other parents."""
        beside = self._in_hand if self._cursor is None else 0
        return self._batch_size * self.share.parents + beside

    @property
    def _in_hand(self) -> int:
        """How many jobs more are to be read at the top: those in hand look as if they waited. A
        round number, so that the statement is an old one."""
        return -(-len(self._held) // ROUND) * ROUND

    @property
    def _leaves_the_rest(self) -> bool:
        """Whether what is not taken of a page is left, instead of looked at again."""
        return False

    def _choose(self, hints: list[Hint]) -> list[Hint]:
        """What to take of a page, beside other parents."""
        return self.share.of(hints)

    def _is_new(self, hint: Hint) -> bool:
        return (
            hint.id not in self._held
            and hint.id not in self._again
            and self._offers.get(hint.id, 0) < OFFERS
        )

    def _insert(self, hints: Iterable[Hint]) -> None:
        """Add what stands before the cursor; the walk itself will meet what stands behind it."""
        self._add(
            hint
            for hint in hints
            if self._exhausted or (self._cursor and hint.order <= self._cursor.order)
        )

    def _add(self, hints: Iterable[Hint]) -> None:
        for hint in hints:
            if hint.id not in self._held:
                self.put_back(hint)
