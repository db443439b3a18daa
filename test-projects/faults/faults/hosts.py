"""Hosts of a network on one machine: a network namespace each, on a bridge with the database.

A host that is cut off hears nothing and is not heard: its cable leads to another bridge, which is
switched off, so that no side learns of it. (One without a bridge would be heard by this machine.)
The names and addresses are those of this process; all of it goes with the block.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from faults.processes import kill
from faults.scale import NotHere, Violation

NETWORKS = range(1, 255)
"""The third numbers of an address of 198.18.0.0/16, which is for the tests of networks."""


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace."""

    name: str
    address: str
    bridge: str
    dead_bridge: str

    @property
    def command(self) -> list[str]:
        """What to put before a command in order to run it there."""
        return ["ip", "netns", "exec", self.name]

    def cut_off(self) -> None:
        """From now on silence."""
        self._plug_into(self.dead_bridge)

    def connect(self) -> None:
        """Silence ends."""
        self._plug_into(self.bridge)

    def power_off(self) -> None:
        """Kill all that runs there."""
        for pid in _ip("netns", "pids", self.name).split():
            kill(int(pid))

    def create(self) -> None:
        """Make it, and connect it."""
        inside = f"{self.name}i"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._port, "type", "veth", "peer", "name", inside)
        _ip("link", "set", inside, "netns", self.name)
        self.connect()
        _ip("link", "set", self._port, "up")
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", inside)
        _ip("-n", self.name, "link", "set", inside, "up")

    def remove(self) -> None:
        """Leave nothing of it, however much there is."""
        with suppress(subprocess.CalledProcessError):
            self.power_off()
        for command in (("link", "delete", self._port), ("netns", "delete", self.name)):
            with suppress(subprocess.CalledProcessError):
                _ip(*command)

    def _plug_into(self, bridge: str) -> None:
        _ip("link", "set", self._port, "master", bridge)

    @property
    def _port(self) -> str:
        """The end of its cable at the bridge."""
        return f"{self.name}o"


@contextmanager
def network(number: int) -> Iterator[tuple[str, list[Host]]]:
    """Within the block, there are so many hosts; first the address at which they find this machine.

    Raises NotHere where there can be none; in CI, that is a Violation.
    """
    must_be_possible()
    run = os.getpid()
    prefix = _free_prefix(run)
    bridges = [f"f{run}b", f"f{run}d"]
    names = {f"f{run}h{one}": f"{prefix}.{one + 2}" for one in range(number)}
    hosts = [Host(name, address, *bridges) for name, address in names.items()]
    with ExitStack() as stack:
        for bridge in bridges:
            stack.callback(_remove_bridge, bridge)
            _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "add", f"{prefix}.1/24", "dev", bridges[0])
        _ip("link", "set", bridges[0], "up")
        for host in hosts:
            stack.callback(host.remove)
            host.create()
        yield f"{prefix}.1", hosts


def must_be_possible() -> None:
    """Say why this machine can have no hosts; in CI that is a failure."""
    reason = ""
    if not shutil.which("ip"):
        reason = "there is no program ip (iproute2)"
    elif os.geteuid() != 0:
        reason = "network namespaces are root's to make"
    else:
        probe = f"f{os.getpid()}p"
        try:
            _ip("netns", "add", probe)
            _ip("netns", "delete", probe)
        except subprocess.CalledProcessError as error:
            reason = f"no network namespace can be made: {error.stderr.strip()}"
    if reason:
        raise Violation(reason) if os.environ.get("CI") == "true" else NotHere(reason)


def _free_prefix(run: int) -> str:
    """The first three numbers of addresses that nobody on this machine uses."""
    used = _ip("-brief", "address")
    for attempt in NETWORKS:
        prefix = f"198.18.{NETWORKS[(run + attempt) % len(NETWORKS)]}"
        if f"{prefix}." not in used:
            return prefix
    raise NotHere("all networks of 198.18.0.0/16 are in use")


def _remove_bridge(bridge: str) -> None:
    with suppress(subprocess.CalledProcessError):
        _ip("link", "delete", bridge)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
    return done.stdout
