"""Where the notices of a database are: in its tables, or beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from functools import partial
from typing import Protocol

from django.db import connections, transaction

from django_async import plans, texts
from django_async.current import LONGEST_MESSAGE
from django_async.notices import Cancellation, Running
from django_async.sidecar import Sidecar


class Noticeboard(Protocol):
    """What runs, and what is to be cancelled. Nothing here waits for a job.

    Raises NoticesUnavailable where the file beside an SQLite database cannot be used.
    """

    @property
    def session(self) -> object:
        """What changes when notices written so far may have been lost."""

    def runs(self) -> list[Running]:
        """All that is said to run."""

    def replace(self, parent: str, gone: Collection[int], new: Sequence[Running]) -> None:
        """Strike out the parent's notices of some jobs, and put up others."""

    def erase(self, parents: Collection[str]) -> None:
        """Strike out all that these parents said."""

    def ask(self, requests: Sequence[Cancellation]) -> None:
        """Put up requests, as the caller's transaction commits."""

    def requests(self) -> list[Cancellation]:
        """The requests, the oldest first."""

    def drop(self, requests: Sequence[Cancellation]) -> None:
        """Strike out requests, as the caller's transaction commits."""

    def close(self) -> None:
        """Let go of what only this noticeboard uses."""


def noticeboard(using: str) -> Noticeboard:
    """The noticeboard of the database, for one thread."""
    return Sidecar(using) if connections[using].vendor == "sqlite" else Tables(using)


class Tables:
    """Notices in the queue's own database. Rows are struck out by what a plain read has found: a
    search could meet, and on MariaDB and MySQL wait for, rows that others have just inserted."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._running = Running.objects.using(using)
        self._cancellations = Cancellation.objects.using(using)

    @property
    def session(self) -> object:
        connections[self.using].ensure_connection()
        return connections[self.using].connection

    def runs(self) -> list[Running]:
        return list(self._running.order_by("pk")) if self._has_rows("async_running") else []

    def replace(self, parent: str, gone: Collection[int], new: Sequence[Running]) -> None:
        with transaction.atomic(using=self.using):
            if gone:
                self._running.filter(parent__token=parent, job__in=gone).delete()
            texts.write(partial(self._put_up, new), [one.message for one in new], self.using)

    def _put_up(self, new: Sequence[Running], spelt: texts.Spelling) -> None:
        rows = [copy(one) for one in new]
        for row in rows:
            row.message = spelt(row.message)[:LONGEST_MESSAGE]
        self._running.bulk_create(rows)

    def erase(self, parents: Collection[str]) -> None:
        if parents:
            self._running.filter(parent__token__in=parents).delete()

    def ask(self, requests: Sequence[Cancellation]) -> None:
        self._cancellations.bulk_create(requests)

    def requests(self) -> list[Cancellation]:
        if not self._has_rows("async_cancellation"):
            return []
        return list(self._cancellations.order_by("pk"))

    def _has_rows(self, table: str) -> bool:
        """Mostly there are none, and each parent asks every second: the ORM takes several times as
        long to write that question down."""
        return bool(plans.ask(f"SELECT 1 FROM {table} LIMIT 1", [], connections[self.using]))

    def drop(self, requests: Sequence[Cancellation]) -> None:
        if requests:
            self._cancellations.filter(pk__in=[one.pk for one in requests]).delete()

    def close(self) -> None:
        """There is nothing that only this one uses."""
