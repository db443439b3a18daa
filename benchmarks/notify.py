"""What waking services costs the application: ``schedule()`` in many processes at once, without a
notification, with one right after the commit, and with one inside the transaction.

A NOTIFY inside a transaction has it commit alone among all that notify, its wait for the disk
included; as a statement of its own it costs a round trip. ``python -m benchmarks notify`` runs this
in the queue's own environment.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable

import django

FORMS = ("off", "after", "inside")


def notify(processes: list[int], seconds: float) -> dict[str, dict[str, float]]:
    """Jobs a second of all processes together, by their number and by the form."""
    from benchmarks.driver import empty

    empty()
    return {
        str(number): {form: rate(form, number, seconds) for form in FORMS} for number in processes
    }


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
    from django.db import connection, transaction
    from django.test import override_settings

    from benchmarks import jobs
    from django_async import schedule

    count, end = 0, time.monotonic() + seconds
    with override_settings(ASYNC={"NOTIFY": form == "after"}):
        while time.monotonic() < end:
            with transaction.atomic():
                schedule(jobs.run_inside, ["W2"])
                if form == "inside":
                    with connection.cursor() as cursor:
                        cursor.execute("NOTIFY django_async")
            count += 1
    report(count)


if __name__ == "__main__":
    django.setup()
    print(f"\n{json.dumps(notify(**json.loads(sys.argv[2])))}")
