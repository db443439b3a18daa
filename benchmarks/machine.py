"""Where it was measured: what a reader has to know to compare the figures with their own."""

from __future__ import annotations

import os
import platform
import sqlite3
from pathlib import Path

import django
from django.db import connections

GIB = 1 << 30


def describe() -> dict[str, str]:
    """The machine and the software that all databases have in common."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores for workers and server",
        "Memory": f"{memory:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Django": django.get_version(),
    }


def describe_database(alias: str) -> str:
    """The server, the driver, and what a commit waits for."""
    return _sqlite(alias) if connections[alias].vendor == "sqlite" else _postgresql(alias)


def _postgresql(alias: str) -> str:
    import psycopg

    version = _ask(alias, "SHOW server_version").split()[0]
    settings = ("fsync", "synchronous_commit", "full_page_writes")
    shown = ", ".join(f"{name} = {_ask(alias, f'SHOW {name}')}" for name in settings)
    return f"PostgreSQL {version} ({shown}), psycopg {psycopg.__version__} ({psycopg.pq.__impl__})"


def _sqlite(alias: str) -> str:
    journal, level = (_ask(alias, f"PRAGMA {name}") for name in ("journal_mode", "synchronous"))
    return f"SQLite {sqlite3.sqlite_version} (journal_mode = {journal}, synchronous = {level})"


def _ask(alias: str, question: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0])


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
