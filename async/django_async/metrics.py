"""What the engine says of itself, for who draws curves of it; nothing where nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Protocol

from django_async.exporter import Address, Exporter
from django_async.figures import Figures
from django_async.outcomes import End, word

LOOK_AGAIN = 1.0
"""Seconds between two looks at the exporter's process."""


class Metrics(Protocol):
    """What the engine tells. None of it waits, or fails."""

    @property
    def pids(self) -> list[int]:
        """Child processes of its own, which it reaps itself."""

    def ended(self, outcome: End) -> None:
        """An attempt ended."""

    def set_busy(self, busy: int, total: int) -> None:
        """So many workers have a job, of so many."""

    def tick(self) -> None:
        """The engine has made a turn."""


class NoMetrics:
    """Nobody asked for any."""

    @property
    def pids(self) -> list[int]:
        return []

    def ended(self, outcome: End) -> None:
        """Nobody counts."""

    def set_busy(self, busy: int, total: int) -> None:
        """Nobody counts."""

    def tick(self) -> None:
        """There is nobody to look after."""


class Prometheus:
    """Counts in shared memory, which a process of its own shows to Prometheus.

    Raises as Exporter does.
    """

    def __init__(
        self,
        address: Address,
        databases: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._figures = Figures()
        self._exporter = Exporter(address, self._figures, databases)
        self._clock = clock
        self._next = 0.0

    @property
    def address(self) -> Address:
        return self._exporter.address

    @property
    def pids(self) -> list[int]:
        return self._exporter.pids

    def ended(self, outcome: End) -> None:
        self._figures.add(outcome.queue or "", word(outcome), outcome.waited, outcome.seconds)

    def set_busy(self, busy: int, total: int) -> None:
        self._figures.set_busy(busy, total)

    def tick(self) -> None:
        if (now := self._clock()) >= self._next:
            self._next = now + LOOK_AGAIN
            self._exporter.look_after()

    def close(self) -> None:
        """End the exporter."""
        self._exporter.close()
        self._figures.close()


def read_address(text: str) -> Address:
    """From ``PORT`` or ``HOST:PORT``, ``[::1]:9100`` included; without a host, this host alone.

    Raises ValueError, also where the library for it is missing.
    """
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isdecimal() and int(port) < 2**16) or (":" in text and not host):
        raise ValueError(
            f"{text!r} is neither a port (9100) nor a host and a port (0.0.0.0:9100, [::1]:9100)"
        )
    if find_spec("prometheus_client") is None:
        raise ValueError("it needs prometheus-client: pip install 'django-async[prometheus]'")
    return Address(host or "127.0.0.1", int(port))
