"""The process that tells Prometheus what a parent has counted.

The parent forks, so it has no threads, and it waits for nobody who asks. A child of its own
answers: it reads the parent's figures in shared memory, and the backlogs in the databases, over
connections of its own. A pool of one worker keeps it: it dies with its parent, and is replaced if
it dies alone. The socket is the parent's, so that a port which is taken is known at the start.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any, NamedTuple

from django.db import connections

from django_async.figures import BOUNDS, Figures, Tally
from django_async.forking import close_connections, forget_connections
from django_async.readings import Readings, bounded
from forkpool import ForkPool, StartFailed

logger = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that somebody who has connected may take to ask."""

MOST_AT_ONCE = 32
"""Connections; beyond, who connects is turned away."""

DATABASE_PATIENCE = 2.0
"""Seconds that an answer waits for the databases, for all of them together; then it goes without
those that have not told theirs."""


class Address(NamedTuple):
    """Where Prometheus asks."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Exporter:
    """The child, as its parent sees it.

    Raises OSError if the address cannot be had, and a PoolError if there can be no child.
    """

    def __init__(self, address: Address, figures: Figures, databases: Sequence[str]) -> None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._socket = socket.create_server(tuple(address), family=family)
        _sockets.append(self._socket)
        host, port, *_ = self._socket.getsockname()
        self.address = Address(host, port)
        self._pool: ForkPool | None = ForkPool(
            1,
            initializer=partial(_begin, self._socket, figures, tuple(databases)),
            before_fork=_close_connections,
        )
        try:
            self._start(self._pool)
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        return self._pool.pids if self._pool else []

    def look_after(self) -> None:
        """Replace the child if it has died."""
        if self._pool is None:
            return
        try:
            for ended in self._pool.wait(0):
                logger.warning("The exporter of metrics ended, and is replaced: %s", ended.error)
            if self._pool.idle:
                self._pool.submit(_serve)
        except StartFailed:
            logger.exception("The exporter of metrics cannot be replaced: the queue goes on.")
            self.close()

    def close(self) -> None:
        """End the child."""
        pool, self._pool = self._pool, None
        if pool:
            pool.kill()
        if self._socket in _sockets:
            _sockets.remove(self._socket)
        self._socket.close()

    def _start(self, pool: ForkPool) -> None:
        pool.start()
        while not pool.idle:
            pool.wait()
        pool.submit(_serve)


def let_go() -> None:
    """In a worker: close what it inherited. A process that it leaves behind would keep the port."""
    while _sockets:
        _sockets.pop().close()


_sockets: list[socket.socket] = []
"""Those that this process listens on."""

_served: list[Callable[[], None]] = []
"""In the child: what it does for life."""


def _close_connections() -> None:
    """Before the fork; where a transaction is open (in a TestCase) they stay, and the child drops
    its copies."""
    if not any(one.in_atomic_block for one in connections.all(initialized_only=True)):
        close_connections()


def _begin(listening: socket.socket, figures: Figures, databases: Sequence[str]) -> None:
    forget_connections()
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import MetricsHandler

    registry = CollectorRegistry()
    registry.register(_Collector(figures, databases))
    handler = type("Handler", (MetricsHandler,), {"registry": registry, "timeout": PATIENCE})
    most = MOST_AT_ONCE + len(databases)  # each is read in a thread, too
    server = _Server(listening, handler, os.getppid(), most)
    _served[:] = [partial(bounded, databases, server.serve_forever)]


def _serve() -> None:
    _served[0]()


class _Server(ThreadingHTTPServer):
    """A thread for each connection: one that says nothing holds up nobody."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, handler: Any, parent: int, most: int) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._parent = parent
        self._most = most

    def process_request(self, request: Any, client_address: Any) -> None:
        if threading.active_count() > self._most:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Twice a second: where the kernel does not do so, end with the parent."""
        if os.getppid() != self._parent:
            os._exit(0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("Metrics could not be sent to %s: %s", client_address, sys.exc_info()[1])


class _Collector:
    """Makes the metrics at each request."""

    def __init__(self, figures: Figures, databases: Sequence[str]) -> None:
        self._figures = figures
        self._readings = Readings(databases)

    def collect(self) -> Iterator[Any]:
        yield from self._jobs()
        yield from self._workers()
        yield from self._backlog()

    def _jobs(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        ends = CounterMetricFamily(
            "django_async_jobs", "Attempts that ended.", labels=["queue", "outcome"]
        )
        waits = HistogramMetricFamily(
            "django_async_job_wait_seconds",
            "From when a job was due to its start.",
            labels=["queue"],
        )
        runs = HistogramMetricFamily(
            "django_async_job_run_seconds", "How long attempts took.", labels=["queue"]
        )
        for queue in self._figures.read():
            for outcome, number in queue.outcomes.items():
                ends.add_metric([queue.name, outcome], number)
            waits.add_metric([queue.name], _cumulative(queue.waits), queue.waits.sum)
            runs.add_metric([queue.name], _cumulative(queue.runs), queue.runs.sum)
        yield from (ends, waits, runs)

    def _workers(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        yield GaugeMetricFamily(
            "django_async_workers", "Workers of this parent.", value=self._figures.workers
        )
        yield GaugeMetricFamily(
            "django_async_workers_busy", "Those that have a job.", value=self._figures.busy
        )

    def _backlog(self) -> Iterator[Any]:
        """What is due in the databases; without those that do not answer."""
        families = backlog_families()
        for alias, told in self._readings.within(DATABASE_PATIENCE).items():
            for family, value in zip(families, told, strict=False):
                family.add_metric([alias], value)
        yield from families


def backlog_families() -> tuple[Any, Any]:
    """How many jobs are due, and the age of the oldest, still without values."""
    from prometheus_client.core import GaugeMetricFamily

    due = GaugeMetricFamily(
        "django_async_due_jobs", "Jobs whose time has come.", labels=["database"]
    )
    age = GaugeMetricFamily(
        "django_async_oldest_due_age_seconds",
        "How long the oldest of them has been due; 0 without one.",
        labels=["database"],
    )
    return due, age


def _cumulative(tally: Tally) -> list[tuple[str, float]]:
    """As Prometheus has it: each bucket with all that are below it."""
    names = [*(repr(float(bound)) for bound in BOUNDS), "+Inf"]
    total, buckets = 0, []
    for name, number in zip(names, tally.buckets, strict=True):
        total += number
        buckets.append((name, float(total)))
    return buckets
