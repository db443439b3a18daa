"""What waking services costs the application: ``schedule()`` in many processes at once, without a
notification, with one right after the commit, and with one inside the transaction.

A NOTIFY inside a transaction has it commit alone among all that notify, its wait for the disk
included; as a statement of its own it costs a round trip.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from statistics import median

import django

FORMS = ("off", "after", "inside")


def main() -> None:
    options = parser().parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    from benchmarks import machine
    from benchmarks.measure import scratch_database

    with scratch_database("postgres"):
        print(machine.describe_database("postgres"))
        for processes in options.processes:
            rounds = [
                {form: rate(form, processes, options.seconds) for form in FORMS}
                for _ in range(options.rounds)
            ]
            print(json.dumps({"processes": processes, **summary(rounds)}))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notify", description=__doc__)
    add = parser.add_argument
    add("--processes", type=int, nargs="+", default=[1, 4, 16], metavar="N", help="1 4 16")
    add("--rounds", type=int, default=5, metavar="N", help="5, interleaved")
    add("--seconds", type=float, default=2.0, help="of each measurement (2)")
    return parser


def summary(rounds: list[dict[str, float]]) -> dict[str, object]:
    """Medians: jobs a second, and the ratio to the form without notifications, in one round."""
    rates = {form: round(median(each[form] for each in rounds)) for form in FORMS}
    ratios = {
        form: round(median(each[form] / each["off"] for each in rounds), 2) for form in FORMS[1:]
    }
    return {"jobs/s": rates, "ratio": ratios}


def rate(form: str, processes: int, seconds: float) -> float:
    """Jobs a second of all processes together."""
    from django.db import connections

    connections.close_all()
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    running = [
        context.Process(target=_work, args=(form, seconds, counts.put)) for _ in range(processes)
    ]
    for process in running:
        process.start()
    done: int = sum(counts.get() for _ in running)
    for process in running:
        process.join()
    return done / seconds


def _work(form: str, seconds: float, report: Callable[[int], object]) -> None:
    from django.db import connections, transaction
    from django.test import override_settings

    from benchmarks import workloads
    from django_async import schedule

    count, end = 0, time.monotonic() + seconds
    with override_settings(ASYNC={"NOTIFY": form == "after"}):
        while time.monotonic() < end:
            with transaction.atomic(using="postgres"):
                schedule(workloads.nothing, ["postgres"], using="postgres")
                if form == "inside":
                    with connections["postgres"].cursor() as cursor:
                        cursor.execute("NOTIFY django_async")
            count += 1
    report(count)


if __name__ == "__main__":
    main()
