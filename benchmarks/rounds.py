"""Rounds: everything once, side by side, then everything again; a ratio is of one round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import environments, servers
from benchmarks.catalogue import OWN, YARDSTICK, System
from benchmarks.environments import ROOT, CannotRun

MEMORY = "/dev/shm"
OWN_MODULES = ("backlog", "notify")
"""Operations that only the queue has."""
LIMIT = 600.0
"""Seconds for one operation on one system, unless it is said to be a long one."""


@dataclass(slots=True)
class Bench:
    """The systems that can be measured here, and why the others cannot."""

    database: str
    systems: list[System] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    redis: tuple[str, str] | None = None
    folder: Path = Path(MEMORY)
    pythons: dict[str, Path] = field(default_factory=dict)

    def ask(
        self,
        system: System,
        operation: str,
        workers: int = 4,
        ballast: int = 0,
        limit: float = LIMIT,
        **options: Any,
    ) -> Any:
        """Have the system's driver do this; what it says. CannotRun with its last words."""
        env = {
            **os.environ,
            "BENCHMARK_BALLAST": str(ballast),
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "BENCHMARK_SYSTEM": system.module,
            "BENCHMARK_DATABASE": self.database,
            "BENCHMARK_WORKERS": str(workers),
            "BENCHMARK_TALLY": str(self.folder / system.module),
            "BENCHMARK_REDIS": self.redis[0] if self.redis else "",
        }
        module = operation if operation in OWN_MODULES else "driver"
        command = [str(self.pythons[system.name]), "-m", f"benchmarks.{module}"]
        try:
            done = subprocess.run(
                [*command, operation, json.dumps(options)],
                cwd=ROOT,
                env=env,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CannotRun(f"{operation} did not end within {limit:.0f} s") from None
        if done.returncode:
            raise CannotRun((done.stderr.strip().splitlines() or ["it failed"])[-1])
        return json.loads(done.stdout.strip().splitlines()[-1])

    def give_up(self, system: System, reason: str) -> None:
        """Leave the system out from now on."""
        print(f"{system.name}: left out: {reason}", file=sys.stderr)
        self.left_out[system.name] = reason
        self.systems.remove(system)

    def versions(self) -> dict[str, dict[str, str]]:
        """What is installed, by system."""
        return {system.name: environments.versions(system) for system in self.systems}


@contextmanager
def bench(database: str, wanted: Sequence[System]) -> Iterator[Bench]:
    """Everything is there that measuring these systems on this database takes."""
    servers.check_database(database)
    with ExitStack() as stack:
        made = Bench(database, list(wanted))
        made.redis = stack.enter_context(servers.redis())
        made.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_memory())))
        for system in wanted:
            try:
                _refuse(system, made)
                made.pythons[system.name] = environments.prepare(system, database)
                made.ask(system, "prepare")
                stack.callback(_drop, made, system)
            except CannotRun as reason:
                made.give_up(system, str(reason))
        yield made


def _refuse(system: System, bench: Bench) -> None:
    if bench.database not in system.databases:
        raise CannotRun(f"does not work with {bench.database}")
    if system.redis and bench.redis is None:
        raise CannotRun("no Redis answers, and there is no redis-server to be started")


def _drop(bench: Bench, system: System) -> None:
    try:
        bench.ask(system, "drop")
    except CannotRun as reason:
        print(f"{system.name}: its database could not be dropped: {reason}", file=sys.stderr)


def _memory() -> str | None:
    """A folder in memory, where there is one."""
    return MEMORY if Path(MEMORY).is_dir() else None


def run(
    bench: Bench, rounds: int, operation: str, workers: int, **options: Any
) -> list[dict[str, Any]]:
    """What each round gave, by system. Each round begins with another one."""
    results = []
    for number in range(rounds):
        began = time.monotonic()
        results.append(_round(bench, number, operation, workers, options))
        seconds = time.monotonic() - began
        print(f"{operation}: round {number + 1} of {rounds}, {seconds:.0f} s", file=sys.stderr)
    return results


def _round(
    bench: Bench, number: int, operation: str, workers: int, options: dict[str, Any]
) -> dict[str, Any]:
    taking_part = [system for system in bench.systems if _takes_part(system, operation)]
    turn = number % (len(taking_part) or 1)
    found: dict[str, Any] = {}
    for system in [*taking_part[turn:], *taking_part[:turn]]:
        try:
            found[system.name] = bench.ask(system, operation, workers, **options)
        except CannotRun as reason:
            bench.give_up(system, str(reason))
    if not found:
        raise CannotRun("nothing is left that could be measured")
    return found


def _takes_part(system: System, operation: str) -> bool:
    """Where there is no queue, nobody waits; what the yardstick enqueues nobody runs."""
    if operation in OWN_MODULES:
        return system.name == OWN
    if operation in ("services", "hosts"):
        return system.name in (OWN, YARDSTICK)
    if operation == "forks":
        return system.forks
    if operation == "enqueue" and system.name == YARDSTICK:
        return True
    return operation == "drain" or system.promises is not None
