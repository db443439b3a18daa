"""The virtual environments: one a system, so that no package's wishes bend another's; and one of
Python 3.6, for a system that needs it besides."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.catalogue import OWN, PSYCOPG, System

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv"
DRIVERS = {"postgres": PSYCOPG, "mysql": "mysqlclient"}
LEGACY = FOLDER / "benchmarks-python3.6"
PYENV = "~/.pyenv/versions"
# And can make environments: Debian packs ensurepip apart.
IS_36 = "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 6))"
SHOWN = ("django", "psycopg", "mysqlclient", "redis", "django-async", "python")
"""Packages whose versions are recorded, besides a system's own."""


class CannotRun(Exception):
    """Something that is needed is missing; the message says what."""


def prepare(system: System, database: str) -> Path:
    """Make the system's environment, or bring it up to date; the Python of its driver."""
    folder = FOLDER / f"benchmarks-{system.environment}"
    wanted = _requirements(system, database)

    def make() -> None:
        _run(sys.executable, "-m", "venv", "--clear", *_bare(system), str(folder))
        _run(_pip(), "-m", "pip", *_at(folder), "install", "-q", *wanted)

    if system.legacy:
        _prepare_legacy(system)
    _update(system, folder, [sys.version, *wanted, (ROOT / "setup.py").read_text()], make)
    return folder / "bin" / "python"


def _prepare_legacy(system: System) -> None:
    python = python36()

    def make() -> None:
        _run(python, "-m", "venv", "--clear", str(LEGACY))
        # Its own pip, for none of today's knows such a Python.
        pip = (str(LEGACY / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
        _run(*pip, "install", "-q", *system.legacy)

    _update(system, LEGACY, [python, *system.legacy], make)


def python36() -> str:
    """A Python 3.6: the one that BENCHMARK_PYTHON36 names, one on PATH or one of pyenv's."""
    named = os.environ.get("BENCHMARK_PYTHON36")
    of_pyenv = Path(PYENV).expanduser().glob("3.6.*/bin/python3.6")
    found = [named] if named else [shutil.which("python3.6"), *map(str, of_pyenv)]
    for python in filter(None, found):
        if _succeeds(python, "-c", IS_36):
            return python
    where = f"{named} is none" if named else "BENCHMARK_PYTHON36 may say where there is one"
    raise CannotRun(f"needs Python 3.6 and Django 1.11; {where}")


def versions(system: System) -> dict[str, str]:
    """What is installed where its workers run, by package; their Python, if it is an older one."""
    folder = LEGACY if system.legacy else FOLDER / f"benchmarks-{system.environment}"
    names = {*SHOWN, *(_name(one) for one in (*system.packages, *system.legacy))}
    parts = (path.stem.split("-") for path in folder.glob("lib/*/site-packages/*-*.*-info"))
    found = {_name(name): version for name, version, *_ in parts}
    if system.legacy:
        found["python"] = _python_of(folder)
    return {name: found[name] for name in sorted(names) if name in found}


def _update(system: System, folder: Path, wanted: Iterable[str], make: Callable[[], None]) -> None:
    """Make the folder, unless it has been made of what is wanted."""
    stamp = folder / "stamp"
    digest = hashlib.sha256("\0".join(wanted).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"{system.name}: making {folder.relative_to(ROOT)}", file=sys.stderr)
    make()
    stamp.write_text(digest)


def _python_of(folder: Path) -> str:
    lines = (folder / "pyvenv.cfg").read_text().splitlines()
    return next(line.partition(" = ")[2] for line in lines if line.startswith("version = "))


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


def _succeeds(*command: str) -> bool:
    try:
        return not subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        return False


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise CannotRun("; ".join(lines) or done.stderr.strip()[-500:])
    return done.stdout
