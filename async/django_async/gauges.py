"""The queue for Prometheus, of all parents together, from what the database knows.

``flush_queue --metrics`` tells what one parent counts, the moment it does. This tells what anybody
can look up: the backlog, under the same names, and the statistics, which are up to ten seconds old.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_async import backlog, clock, overview, performance
from django_async.exporter import backlog_families
from django_async.performance import HOUR
from django_async.slots import QUEUE


class QueueCollector:
    """Makes the metrics of a database at each request. It needs prometheus-client."""

    def __init__(self, using: str) -> None:
        self._using = using

    def collect(self) -> Iterator[Any]:
        yield from self._backlog()
        yield from self._parents()
        yield from self._attempts()

    def _backlog(self) -> Iterator[Any]:
        families = backlog_families()
        found = backlog.read(self._using)
        for family, value in zip(families, backlog.told(found, self._using), strict=True):
            family.add_metric([self._using], value)
        yield from families

    def _parents(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        hosts = overview.hosts(self._using, overview.runs(self._using) or [])
        alive = [host for host in hosts if host.is_alive]
        parents = GaugeMetricFamily(
            "django_async_parents", "The flush_queue that live.", labels=["database"]
        )
        workers = GaugeMetricFamily(
            "django_async_all_workers", "The workers of all parents.", labels=["database"]
        )
        running = GaugeMetricFamily(
            "django_async_running_jobs", "Jobs that have run for a moment.", labels=["database"]
        )
        parents.add_metric([self._using], len(alive))
        workers.add_metric([self._using], sum(host.parent.workers for host in alive))
        running.add_metric([self._using], sum(len(host.busy) for host in alive))
        yield from (parents, workers, running)

    def _attempts(self) -> Iterator[Any]:
        """A gauge, and no counter: statistics are kept for eight days, so that a sum of all of them
        may fall."""
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(
            "django_async_attempts_of_last_hour",
            "Attempts that ended in the last 55 to 60 minutes.",
            labels=["database", "queue", "outcome"],
        )
        since = HOUR.begins(clock.utc_now(self._using))[0]
        for queue, found in performance.by_label(QUEUE, since, self._using).items():
            for outcome, number in found.outcomes.items():
                family.add_metric([self._using, queue, outcome], number)
        yield family
