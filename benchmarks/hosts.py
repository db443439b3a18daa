"""Several hosts on one machine, and a PostgreSQL that they share: what the fault suite is made of.

Each host is a network namespace, so that what goes to the server takes the way through the kernel's
network, and not the loopback. It takes root, and the program ``ip``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from benchmarks.environments import ROOT, CannotRun

FAULTS = ROOT / "test-projects" / "faults"
SEPARATOR = ","


@contextmanager
def on_hosts(number: int) -> Iterator[None]:
    """Within the block, everything that is measured is on a private server, which so many hosts
    reach; the driver finds them with commands()."""
    sys.path.insert(0, str(FAULTS))
    from faults import hosts, scale, servers

    class Server(servers.PostgreSQL):
        """As its package sets it up."""

        def command(self) -> list[str]:
            return [*super().command(), "-c", "fsync=on"]

        def knock(self) -> None:
            subprocess.run(
                ["pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"], check=True
            )

    with ExitStack() as stack:
        stack.enter_context(patch.dict(servers.KINDS, postgresql=Server))
        try:
            address, made = stack.enter_context(hosts.network(number))
            server = stack.enter_context(servers.private_server("postgresql", address))
        except (scale.NotHere, scale.Violation) as reason:
            raise CannotRun(str(reason)) from None
        place = {
            "POSTGRES_HOST": address,
            "POSTGRES_PORT": str(server.port),
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": "",
            "BENCHMARK_HOSTS": SEPARATOR.join(host.name for host in made),
        }
        stack.enter_context(patch.dict(os.environ, place))
        yield


def commands(number: int) -> Sequence[Sequence[str]]:
    """What to put before a command to run it on each of so many hosts."""
    names = os.environ["BENCHMARK_HOSTS"].split(SEPARATOR)
    return [["ip", "netns", "exec", name] for name in names[:number]]
