"""The process that tries the databases which are silent, so that their parent waits for none.

A server that is down refuses at once. One that is cut off, or whose table is locked for an
``ALTER TABLE``, lets a parent wait, and with it the jobs of its other databases. So after the first
try that took long the parent of several leaves that to a child, which is there for as long as one
of them is silent, and tries again itself when the child had an answer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from functools import partial

from django.db import connections

from django_async import exporter, sessions
from django_async.access import look_for_tables
from django_async.engine import Engine
from django_async.forking import forget_connections, set_aside, take_up
from django_async.lane import Lane
from forkpool import ForkPool, PoolError, soft_time_limit

logger = logging.getLogger(__name__)

LONGEST = 10
"""Seconds that a database has to answer the child."""


class Scout:
    """The child, as its parent sees it: a duty of a service for several databases."""

    LOOK, AGAIN = 1.0, 0.1
    """Seconds to the next look whether one of them is silent, and what the child says."""

    PAUSE = 1.0
    """Seconds between two tries of one that stays silent."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = deque(lanes)
        self._pool: ForkPool | None = None
        if len(lanes) > 1:
            for lane in lanes:
                lane.access.beside_others()

    @property
    def pids(self) -> list[int]:
        return self._pool.pids if self._pool else []

    def see_to(self, engine: Engine) -> float:
        if engine.is_halted or not any(lane.access.is_silent for lane in self._lanes):
            self.close()
            return self.LOOK
        try:
            self._pool = self._pool or self._start()
            self._hear(self._pool)
            self._send(self._pool)
        except (PoolError, OSError):
            logger.exception("Silent databases cannot be tried beside the others.")
            self.close()
            for lane in self._lanes:
                lane.access.has_answered()
        return self.AGAIN

    def close(self) -> None:
        """End the child."""
        pool, self._pool = self._pool, None
        if pool:
            pool.kill()

    def _start(self) -> ForkPool:
        pool = ForkPool(
            1,
            initializer=_begin,
            before_fork=partial(set_aside, [lane.using for lane in self._lanes]),
            after_fork=take_up,
        )
        pool.start()
        return pool

    def _hear(self, pool: ForkPool) -> None:
        for ended in pool.wait(0):
            [lane] = [one for one in self._lanes if one.using in ended.task.args]
            if ended.error is None:
                lane.access.has_answered()
            else:
                lane.access.rest(self.PAUSE)

    def _send(self, pool: ForkPool) -> None:
        """Have it try the one that was tried longest ago, if its time has come."""
        for lane in list(self._lanes) if pool.idle else ():
            if lane.access.is_silent and not lane.access.rests:
                self._lanes.remove(lane)
                self._lanes.append(lane)
                pool.submit(_try, lane.using, time_limit=2 * LONGEST)
                return


def _begin() -> None:
    exporter.let_go()
    forget_connections()


def _try(using: str) -> None:
    """Find out whether the database, and each of the queue's tables, answers. The server is to give
    up as well: each try would leave it with one session more that waits for a locked table."""
    connection = connections[using]
    try:
        with soft_time_limit(LONGEST):
            sessions.watch_client(connection)
            if connection.vendor == "mysql":
                with connection.cursor() as cursor:
                    cursor.execute("SET SESSION lock_wait_timeout = %s", [LONGEST])
            look_for_tables(using)
    finally:
        connection.close()
