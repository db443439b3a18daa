"""The virtual environments: one a system, so that no package's wishes bend another's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.catalogue import OWN, PSYCOPG, System

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv"
DRIVERS = {"postgres": PSYCOPG, "mysql": "mysqlclient"}
SHOWN = ("django", "psycopg", "mysqlclient", "redis", "django-async")
"""Packages whose versions are recorded, besides a system's own."""


class CannotRun(Exception):
    """Something that is needed is missing; the message says what."""


def prepare(system: System, database: str) -> Path:
    """Make the system's environment, or bring it up to date; its Python."""
    folder = FOLDER / f"benchmarks-{system.environment}"
    wanted = _requirements(system, database)
    stamp, digest = folder / "stamp", _digest(wanted)
    if not (stamp.exists() and stamp.read_text() == digest):
        print(f"{system.name}: making {folder.relative_to(ROOT)}", file=sys.stderr)
        _run(sys.executable, "-m", "venv", "--clear", *_bare(system), str(folder))
        _run(_pip(), "-m", "pip", *_at(folder), "install", "-q", *wanted)
        stamp.write_text(digest)
    return folder / "bin" / "python"


def versions(system: System) -> dict[str, str]:
    """What is installed there, by package."""
    folder = FOLDER / f"benchmarks-{system.environment}"
    names = {*SHOWN, *(_name(one) for one in system.packages)}
    parts = (path.stem.split("-") for path in folder.glob("lib/*/site-packages/*.dist-info"))
    found = {_name(name): version for name, version in parts}
    return {name: found[name] for name in sorted(names) if name in found}


def _requirements(system: System, database: str) -> list[str]:
    driver = [DRIVERS[database]] if database in DRIVERS else []
    # PostgreSQL's driver is small and always there; MySQL's has to be built.
    drivers = sorted({PSYCOPG, *driver})
    own = ["--editable", str(ROOT)] if system.environment == OWN else []
    return [*own, *_micro(system), system.django, *drivers, *system.packages]


def _micro(system: System) -> list[str]:
    """The micro-benchmarks run where the queue is."""
    return ["pytest", "pytest-benchmark", "pytest-django"] if system.environment == OWN else []


def _bare(system: System) -> list[str]:
    """One pip serves all environments."""
    return [] if system.environment == OWN else ["--without-pip"]


def _pip() -> str:
    return str(FOLDER / f"benchmarks-{OWN}" / "bin" / "python")


def _at(folder: Path) -> list[str]:
    return ["--disable-pip-version-check", "--python", str(folder / "bin" / "python")]


def _name(requirement: str) -> str:
    for mark in "[=<>":
        requirement = requirement.partition(mark)[0]
    return requirement.lower().replace("_", "-")


def _digest(wanted: Iterable[str]) -> str:
    parts = [sys.version, *wanted, (ROOT / "setup.py").read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise CannotRun("; ".join(lines) or done.stderr.strip()[-500:])
    return done.stdout
