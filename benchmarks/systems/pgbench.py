"""The yardstick's SQL, sent by PostgreSQL's own benchmark: what Python and Django cost on top."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile

from django.db import connection

from benchmarks.models import Ticket

TICKETS = 10_000
INSERT = "INSERT INTO benchmarks_line (at) VALUES (random()) RETURNING id;"
TRANSACTION = """\
\\set id random(1, {tickets})
BEGIN;
{work}
UPDATE benchmarks_ticket SET done = clock_timestamp() WHERE id = :id;
COMMIT;
"""
WORK = {"W1": INSERT, "W2": "", "W4": "SELECT pg_sleep(0.05);", "W5": INSERT}


def measure(workload: str, workers: int, seconds: float) -> dict[str, float]:
    """Transactions a second of so many clients, over so many seconds."""
    if workload not in WORK:
        raise NotImplementedError(f"pgbench has no {workload}")
    if not Ticket.objects.exists():
        Ticket.objects.bulk_create([Ticket(pk=number + 1) for number in range(TICKETS)])
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(TRANSACTION.format(tickets=TICKETS, work=WORK[workload]))
        script.flush()
        return {"rate": _run(script.name, workers, seconds)}


def _run(script: str, workers: int, seconds: float) -> float:
    settings = connection.settings_dict
    place = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD"}
    shown = subprocess.run(
        [
            *("pgbench", "--no-vacuum", "--client", str(workers), "--jobs", str(min(workers, 2))),
            *("--time", str(max(1, round(seconds))), "--file", script, str(settings["NAME"])),
        ],
        env={**os.environ, **{name: str(settings[key]) for name, key in place.items()}},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.search(r"^tps = ([\d.]+)", shown, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"pgbench told no rate: {shown}")
    return float(found[1])
