"""Where it was measured: what a reader has to know to compare the figures with their own."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

GIB = 1 << 30
POSTGRES_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
)
MYSQL_SETTINGS = ("innodb_flush_log_at_trx_commit", "sync_binlog", "innodb_buffer_pool_size")
SQLITE_SETTINGS = ("journal_mode", "synchronous")


def describe() -> dict[str, str]:
    """The machine and the software that everything has in common."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores for workers and servers",
        "Memory": f"{memory:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def describe_database(connection: Any) -> str:
    """The server, the driver, and what a commit waits for; of a connection of Django's."""
    with connection.cursor() as cursor:

        def ask(question: str) -> str:
            cursor.execute(question)
            return str(cursor.fetchone()[0])

        if connection.vendor == "postgresql":
            asked = {name: f"SHOW {name}" for name in POSTGRES_SETTINGS}
        elif connection.vendor == "mysql":
            asked = {name: f"SELECT @@{name}" for name in MYSQL_SETTINGS}
        else:
            asked = {name: f"PRAGMA {name}" for name in SQLITE_SETTINGS}
        shown = ", ".join(f"{name} = {ask(question)}" for name, question in asked.items())
    version = ".".join(map(str, connection.get_database_version()))
    return f"{connection.display_name} {version} ({shown})"


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
