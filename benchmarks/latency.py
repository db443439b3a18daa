"""How soon an idle service starts a job: from the return of ``schedule()`` to its first insert."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import django

ROOT = Path(__file__).parents[1]
WORKERS = 2
DEADLINE = 30.0
"""Seconds after which a job that has not run is a failure of the benchmark."""

FORMS = {
    "after": "NOTIFY as a statement of its own, right after the commit",
    "inside": "NOTIFY inside the transaction",
    "off": "no NOTIFY: the service looks at its polling interval",
}


def main() -> None:
    options = parser().parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    os.environ["BENCHMARK_MYSQL"] = "1" if options.database == "mysql" else ""
    os.environ["BENCHMARK_NOTIFY"] = "" if options.notify == "off" else "1"
    django.setup()
    from benchmarks import machine
    from benchmarks.measure import scratch_database

    with scratch_database(options.database):
        print(machine.describe_database(options.database))
        print(f"{FORMS[options.notify]}; {WORKERS} workers, {options.samples} jobs, one at a time")
        with service(options.database) as process:
            report("transactions" if options.notify == "inside" else "calls", options, process)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    add = parser.add_argument
    add("--database", default="postgres", choices=("postgres", "mysql", "sqlite"))
    add("--samples", type=int, default=300, metavar="N", help="300")
    add("--notify", default="after", choices=FORMS, help="how services are woken (after)")
    add("--idle", type=float, default=10.0, metavar="SECONDS", help="to watch the idle service")
    return parser


def report(form: str, options: argparse.Namespace, process: subprocess.Popen[bytes]) -> None:
    """Measure, and print a line for the latency and one for the cost of being idle."""
    delays = sorted(
        sample(options.database, inside=form == "transactions") * 1e3
        for _ in range(options.samples)
    )
    cuts = quantiles(delays, n=100, method="inclusive")
    figures = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "most": delays[-1]}
    print("ms:", json.dumps({name: round(value, 2) for name, value in figures.items()}))
    print(f"CPU of the idle service: {idle_share(process.pid, options.idle):.2%}")


def sample(alias: str, *, inside: bool) -> float:
    """Seconds from the return of schedule(), or of the transaction that it is in, to the insert."""
    from django.db import connections, transaction

    from benchmarks import workloads
    from benchmarks.models import Line
    from django_async import schedule

    time.sleep(random.uniform(0.03, 0.07))  # the queue is idle again, and in no step with this
    Line.objects.using(alias).all().delete()
    if inside:
        with transaction.atomic(using=alias):
            schedule(workloads.insert, [alias], using=alias)
            connections[alias].run_on_commit.clear()
            with connections[alias].cursor() as cursor:
                cursor.execute("NOTIFY django_async")
    else:
        schedule(workloads.insert, [alias], using=alias)
    returned = time.monotonic()
    while (line := Line.objects.using(alias).first()) is None:
        if time.monotonic() > returned + DEADLINE:
            raise RuntimeError("The job was not run.")
        time.sleep(0.005)
    return line.at - returned


@contextmanager
def service(alias: str) -> Iterator[subprocess.Popen[bytes]]:
    """``manage.py flush_queue --forever``, which has run a first job."""
    arguments = ["flush_queue", "--forever", f"--database={alias}", f"--workers={WORKERS}", "-v0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "django", *arguments], cwd=ROOT, env=os.environ.copy()
    )
    try:
        for _ in range(5 * WORKERS):
            sample(alias, inside=False)
        yield process
    finally:
        process.terminate()
        process.wait()


def idle_share(pid: int, seconds: float) -> float:
    """The part of a CPU that the service uses, with its workers, while it has nothing to do."""
    time.sleep(2)
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / seconds


def cpu_seconds(pid: int) -> float:
    """What a process and its children have used so far."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(_cpu_seconds(one) for one in [str(pid), *children])


def _cpu_seconds(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
