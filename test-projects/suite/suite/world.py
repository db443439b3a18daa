"""What there is in the model of the claim protocol, at one moment; see `suite.protocol`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

MOST = 2
"""Attempts after which a job that fails is discarded."""

SUSPECTED = "suspected"
GONE = "a parent of the past"
"""The token of a parent that died before all this began."""


class Flaw(StrEnum):
    """What is not as it should be."""

    NONE = "nothing"
    PLAIN_INQUEST = "the inquest trusts a plain read"
    PLAIN_CANCEL = "the cancel trusts a plain read"
    EARLY_MARK = "the mark is committed before the job runs"
    BLIND_CLAIM = "the claim does not compare the attempts"
    HASTY_JUDGE = "the stamp of a living parent counts as a death"
    HARSH_JUDGE = "a suspicion counts as a death"
    BLIND_JUDGE = "the stamp of a dead parent counts for nothing"
    HIDDEN_PARENT = "a parent that has forked seems dead until it writes its next batch"
    LEFT_STAMP = "a stamp that cannot be taken back at once is left"
    LASTING_LOCK = "the lock of a dead worker stays"
    LASTING_LIFE = "a dead parent seems alive for ever"
    BLIND_FORESIGHT = "what was foreseen counts as written down whatever attempt it is"
    LOST_SUSPICION = "a dead parent is struck out while the row of its batch is locked"


class Row(NamedTuple):
    """The job's row, and the rows that refer to it."""

    attempts: int = 0
    crashes: int = 0
    stamp: str = ""
    executed: bool = False
    cancelled: bool = False
    discarded: bool = False
    errors: tuple[int, ...] = ()
    """The attempts of which an error tells."""
    ledger: tuple[int, ...] = ()
    """The attempts that had an effect."""

    @property
    def is_pending(self) -> bool:
        return not (self.executed or self.cancelled or self.discarded)

    def is_unrecorded(self, attempt: int) -> bool:
        """Whether this attempt's end is still to be written; the job may be cancelled."""
        return self.attempts == attempt and not (self.executed or self.discarded)

    def stamped(self, stamp: str) -> Row:
        return self._replace(stamp=stamp)

    def with_effect(self, attempt: int) -> Row:
        return self._replace(ledger=(*self.ledger, attempt))

    def marked(self) -> Row:
        return self._replace(attempts=self.attempts + 1, executed=True, stamp="")

    def failed(self, attempt: int, *, died: bool = False) -> Row:
        return self._replace(
            attempts=self.attempts + 1,
            crashes=self.crashes + died,
            stamp="",
            discarded=self.attempts + 1 >= MOST and not self.cancelled,
            errors=(*self.errors, attempt),
        )


class Lock(NamedTuple):
    """The row's lock, and the transaction that holds it: there is no other that matters."""

    holder: str
    after: Row
    """The row as it will be when this is committed."""
    sent: bool = False
    """Whether the COMMIT is on its way."""


class Pair(NamedTuple):
    """A parent and its worker."""

    name: str
    step: Step
    attempt: int = 0
    """What the hint says."""
    is_suspect: bool = False
    """Whether the hint says so: the row is stamped before the claim."""
    claimed: bool = False
    died: bool = False
    """What the inquest is about: a dead worker, or else a lost connection."""
    then: Step | None = None
    """What follows the answer to the COMMIT."""
    batch: int | None = None
    """The attempt that the parent's own row says to be in hand; None if there is no such row."""
    shown: bool = False
    """Whether the server has the session that shows that the parent lives."""


class World(NamedTuple):
    """Everything, at one moment."""

    pairs: tuple[Pair, ...]
    row: Row
    lock: Lock | None = None
    cancel: str = "to come"
    crashes: int = 1
    """How many may still come."""
    struck: int = 0
    """How many have met an attempt."""
    lost: tuple[int, ...] = ()
    """The attempts, stamped for this parent alone and begun, with which everybody died."""
    flaw: Flaw = Flaw.NONE

    def go(self, me: Pair, step: Step, **changes: Any) -> World:
        """With the pair at another step."""
        moved = me._replace(step=step, **changes)
        return self._replace(
            pairs=tuple(moved if one.name == me.name else one for one in self.pairs)
        )

    def locked(self, holder: str, after: Row) -> World:
        """With the lock taken, or held on to, and this written."""
        return self._replace(lock=Lock(holder, after))

    def unlocked(self) -> World:
        """With the transaction rolled back."""
        return self._replace(lock=None)

    def committed(self, row: Row) -> World:
        return self._replace(row=row, lock=None)

    def holds(self, me: Pair) -> bool:
        return self.lock is not None and self.lock.holder == me.name

    def seems_dead(self, token: str) -> bool:
        """Whether nothing in the database shows that the parent lives."""
        return not any(
            one.name == token and one.shown and one.batch is not None for one in self.pairs
        )


Move = tuple[str, World]
Step = Callable[[World, Pair], Iterator[Move]]
