"""Counting deaths that nobody is left to see.

When a worker dies, its parent records it. When the parent dies with all of its workers, nobody
does, and a job that takes them all with it would do so for ever. So a parent writes down what it
has in hand, before any of it runs, and strikes itself out when its pass ends:

1. The *batch* is one row, written once for many jobs. Left behind by a parent that died, it raises
   only a suspicion: whoever finds it stamps those of the batch that may have been running as
   ``suspected``.
2. A suspect is handed out alone: it is stamped with the token of its parent, in a commit of its
   own, immediately before it runs, and no other suspect runs beside it.
3. Whoever takes the lock of a job that is stamped with the token of a dead parent knows that the
   job was running when everything died. That, and not the suspicion, counts as a death.

A parent that has nothing to do, and hears of new jobs, writes down the ids that come next as well:
then the next job need not wait for that. Of these it is not known in which order they were handed
out, so all that are there are suspected.

The end of an attempt, whatever it is, takes the stamp away; only after such a death the job goes
on being a suspect, so that it cannot take another one with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from django.db import connections, transaction

from django_async import liveness, sessions, stamps
from django_async.hints import Hint, Share
from django_async.models import Parent
from django_async.stamps import Batch

FORESIGHT = 32
"""Ids that are written down in advance; half of them are used up before that is done again. So many
jobs, and no more, run one by one after the death of a host that had none of them."""

LOOK_AGAIN = 0.1
"""Seconds. A parent that has closed its connection in order to fork has a new one by then."""


@dataclass(slots=True)
class Registration:
    """This parent, as the others see it."""

    using: str
    workers: int = 1
    token: str = field(default_factory=lambda: uuid4().hex)
    share: Share = field(default_factory=Share)
    _covered: set[tuple[int, int]] = field(default_factory=set)
    _foreseen: range = range(0)
    _newest: int = 0
    """The highest id of a job that was attempted here. (Anybody may tell of any id.)"""
    _connection: Any = None
    """The one that holds the lock which says that this parent lives."""
    _locked_on: Any = None
    """The session of that connection."""

    def register(self) -> None:
        """Become known, before anything runs."""
        self.stamp([])
        self.look_around()

    def covers(self, hint: Hint) -> bool:
        """Whether the hint is in the batch that was written last, or was foreseen."""
        is_foreseen = hint.id in self._foreseen and not hint.attempts
        return is_foreseen or _entry(hint) in self._covered

    def note(self, job_id: int) -> None:
        """There is a job with this id: those to come will have higher ones."""
        self._newest = max(self._newest, job_id)

    @property
    def is_short_sighted(self) -> bool:
        """Whether few of the ids that come next are foreseen."""
        left = range(self._newest + 1, self._foreseen.stop)
        return self._newest > 0 and len(left) <= FORESIGHT // 2

    def foresee(self, hints: Iterable[Hint]) -> None:
        """Write down the ids that come next, beside these, which are in hand."""
        self.stamp(hints, range(self._newest + 1, self._newest + 1 + FORESIGHT))

    def stamp(self, hints: Iterable[Hint], foreseen: range = range(0)) -> None:
        """Write down what is about to run, in its order, before any of it does."""
        entries = [_entry(hint) for hint in hints]
        batch = Batch(entries, foreseen).dump()
        self.show_life()
        if not stamps.write_batch(self.token, batch, self.using):
            Parent.objects.using(self.using).create(
                token=self.token,
                host=liveness.host(),
                process=liveness.describe_process(os.getpid()),
                workers=self.workers,
                batch=batch,
            )
        self._covered, self._foreseen = set(entries), foreseen

    def withdraw(self) -> None:
        """Strike the parent out: nothing of what it had in hand runs any more."""
        self._forget()
        Parent.objects.using(self.using).filter(token=self.token).delete()
        if self._locked_on is not None:
            liveness.drop_lock(self.token, connections[self.using])
            self._locked_on = None

    def look_around(self) -> bool:
        """Stamp what other parents had in hand when they died, and strike these out; learn which
        place this one has among those that live. Whether there were dead ones."""
        parents = stamps.parents(self.using)
        others = {token: parents[token] for token in parents if token != self.token}
        dead = others.keys() - living(others, self.using)
        if dead:
            for parent in Parent.objects.using(self.using).filter(token__in=dead).order_by("pk"):
                _bequeath(parent, self.using)
        tokens = [token for token in parents if token not in dead]
        if self.token in tokens:
            self.share = Share(tokens.index(self.token), len(tokens))
        return bool(dead)

    @property
    def is_shown(self) -> bool:
        """Whether others know that this parent lives. They take it for dead before it has begun,
        and when its connection has ended."""
        session = self._locked_on
        return session is not None and self._connection.connection is session

    def show_life(self) -> None:
        """Hold the lock that says that this parent lives: anew on each connection."""
        connection = connections[self.using]
        connection.ensure_connection()
        if self._locked_on is not connection.connection:
            sessions.watch_client(connection)  # a host that is cut off is dead to the others
            liveness.take_lock(self.token, connection)
            self._connection, self._locked_on = connection, connection.connection
            self._forget()  # somebody may have struck it out meanwhile: to be written anew

    def _forget(self) -> None:
        self._covered, self._foreseen = set(), range(0)


def is_gone(token: str, using: str) -> bool:
    """Whether the parent with this token is dead, or was struck out."""
    parent = Parent.objects.using(using).filter(token=token).first()
    return parent is None or not living({token: parent.process}, using)


def living(processes: Mapping[str, str], using: str) -> set[str]:
    """Which of the parents live, of which the tokens and processes are given, at two looks: between
    two connections one only seems dead."""
    connection = connections[using]
    alive = liveness.living(processes, connection)
    doubtful = {token: processes[token] for token in processes.keys() - alive}
    if doubtful and not liveness.is_exact(connection):
        time.sleep(LOOK_AGAIN)
        alive |= liveness.living(doubtful, connection)
    return alive


def _entry(hint: Hint) -> tuple[int, int]:
    return hint.id, hint.attempts


def _bequeath(parent: Parent, using: str) -> None:
    """From the batch to suspicions. Jobs were handed out in order, so that of those whose attempt
    nobody has ended, no more than the first few, one for each worker, can have been running.

    While one of them is locked, the batch stays: a dead worker's session may still hold it."""
    with transaction.atomic(using=using):
        if stamps.lock_parent(parent.pk, using):
            batch = Batch.load(parent.batch)
            if stamps.suspect(batch, parent.workers, using):
                parent.delete(using=using)
