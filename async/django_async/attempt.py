"""What every attempt at a job is made of, whether it runs in a transaction or not."""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Protocol

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import coroutines, current, liveness, payload, policy, sessions, titles, trouble
from django_async.errors import QueueStopped
from django_async.hints import Hint
from django_async.locks import Ask, Claimed
from django_async.outcomes import Attempted, Away, Busy, Failure, Outcome, unsuccessful
from django_async.payload import Call
from django_async.store import Settlement, claim_now
from django_async.utils import object_at_end_of_path
from django_async.witness import Witness
from forkpool import interruptible, retire, soft_time_limit

logger = logging.getLogger(__name__)

FILES = 8
"""As many as it may take to open a session."""

_reached: set[tuple[int, str]] = set()
"""Processes, this one or those that it was forked from, and where they have had a session."""


class Claim(Protocol):
    """Takes the job's lock: store.claim(), or one of its kind."""

    def __call__(
        self, hint: Hint, connection: BaseDatabaseWrapper, ask: Ask | None = None
    ) -> Claimed | None: ...


class Attempt:
    """One attempt: what it has found out so far."""

    def __init__(self, hint: Hint, using: str, claim: Claim) -> None:
        self.hint = hint
        self.using = using
        self.connection = connections[using]
        self.claim = claim
        self.claimed: Claimed | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.last_session: Any = None
        self.has_new_session = False
        self.witness = Witness(using)
        self.began = time.monotonic()

    def run(self) -> Outcome:
        """Make the attempt, and tell those who watch how it ended."""
        outcome = self.make()
        if isinstance(self.error, MemoryError) or self._is_cut_off(outcome):
            retire()
        self.witness.ended(outcome, self.error)
        return outcome

    def _is_cut_off(self, outcome: Outcome) -> bool:
        """Whether it may be this process that lacks files, or whatever it takes to connect. For one
        that never had a session there, as when the server has no place for more of them, the next
        one would fare no better."""
        had_session = (os.getpid(), self.using) in _reached
        return isinstance(outcome, Away) and (had_session or not _has_files())

    def make(self) -> Outcome:
        raise NotImplementedError

    def connect(self) -> None:
        """Have a session, and remember it: Django may put another one in its place."""
        self.has_new_session = self.connection.connection is None
        self.connection.ensure_connection()
        self.last_session = self.connection.connection
        _reached.add((os.getpid(), self.using))

    def call(self, claimed: Claimed) -> Any:
        """Call the job's function, within its limit, where it can be interrupted; if it gives a
        coroutine, as an ``async def`` does, run that to its end."""
        function = self._function(claimed)
        args, kwargs = payload.load(claimed.args), payload.load(claimed.kwargs)
        job = current.CurrentJob(
            claimed.id, self.using, claimed.name, claimed.attempts + 1, claimed.queue
        )
        timeout = policy.timeout(claimed.meta)
        seen = self.witness.running(claimed)
        with current.running(job), titles.shown(job.id, job.name), only_here(), seen:
            with interruptible(), soft_time_limit(timeout):
                self.witness.started(claimed)
                result = function(*args, **kwargs)
            return coroutines.run(result, timeout) if inspect.iscoroutine(result) else result

    def _function(self, claimed: Claimed) -> Callable[..., Any]:
        if not policy.is_task(claimed.meta):
            function: Callable[..., Any] = object_at_end_of_path(claimed.name)
            return function
        from django_async.tasks import running

        return running.function_of(claimed, self.using)

    def failure(self, error: BaseException) -> Failure:
        """What the attempt raised, and who made it and when."""
        return replace(Failure.of(error), worker=liveness.worker(), seconds=self.seconds())

    def after_failed_claim(self, error: BaseException) -> Outcome:
        """Nothing has happened to the job: try again, if there is reason to hope."""
        if self._has_lost_session():
            self.drop_dead_connection()
        elif trouble.is_outage(error, self.connection, None):
            self.connection.close()
            return Away(self.hint, str(error))
        elif not trouble.is_conflict(error, self.using):
            if self._is_callers:
                raise error
            if trouble.is_read_only(error):
                sessions.end(self.connection)
                return Away(self.hint, str(error))
            if self.has_new_session:
                raise QueueStopped(f"Job {self.hint.id} cannot be claimed: {error}") from error
            sessions.end(self.connection)  # which an earlier job of this worker may have changed
        return Busy(self.hint)

    @property
    def _is_callers(self) -> bool:
        """Whether the session is its caller's, by hand or in a TestCase, and not the queue's to
        end."""
        return self.claim is claim_now or self.connection.in_atomic_block

    def _has_lost_session(self) -> bool:
        """Whether the session with which the attempt began has ended since."""
        if self.last_session is None:
            return False
        lost = trouble.has_lost(self.last_session, self.connection)
        return lost or not trouble.is_alive(self.connection)

    def drop_dead_connection(self) -> None:
        if not trouble.is_alive(self.connection):
            sessions.end(self.connection)

    def ended(self, failure: Failure, settlement: Settlement) -> Outcome:
        """The end of an attempt that did not succeed."""
        discarded = settlement is Settlement.DISCARDED
        return unsuccessful(self.attempted(), failure, discarded=discarded)

    def attempted(self) -> Attempted:
        """What there is to tell of it, however it ends."""
        return Attempted(self.hint, str(self.label()), self.seconds(), **self.told())

    def told(self) -> dict[str, Any]:
        """What those who watch want to know of the job."""
        job = self.claimed
        return {"name": job.name, "queue": job.queue, "waited": job.waited} if job else {}

    def label(self) -> Call | str:
        """The call, on one line."""
        job = self.claimed
        return Call(job.name, job.args, job.kwargs) if job else f"job {self.hint.id}"

    def about(self) -> dict[str, object]:
        """What each log record carries."""
        return payload.about(self.hint.id, self.claimed.name if self.claimed else None)

    def seconds(self) -> float:
        return time.monotonic() - self.began


def _has_files() -> bool:
    """Whether this process may open some more."""
    try:
        with ExitStack() as stack:
            for _ in range(FILES):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


@contextmanager
def only_here() -> Iterator[None]:
    """End a copy of this process that the block has forked, as soon as it leaves the block: it
    shares the transaction, and must neither commit it nor say goodbye to the server."""
    here = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != here:
            os._exit(1)
