"""Enqueues for the driver, whose Python cannot import 0.7.3, until its standard input ends.

A line asks for jobs, as the JSON of the arguments of `enqueue`; a line answers when they are there.
"""

import json
import sys
from contextlib import ExitStack
from importlib import import_module  # `async` is a reserved word since Python 3.7

from django.db import transaction

from benchmarks import jobs

api = import_module("async.api")


def enqueue(workload: str, argument: str, count: int, inside: bool) -> None:
    """Enqueue equal jobs one by one, inside one transaction or each in one of its own."""
    with ExitStack() as stack:
        if inside:
            stack.enter_context(transaction.atomic())
        for _ in range(count):
            api.schedule(jobs.run_inside, [workload, argument])


if __name__ == "__main__":
    for line in sys.stdin:
        enqueue(*json.loads(line))
        print("done", flush=True)
