"""A worker of 0.7.3, ``python -m benchmarks.legacy.worker WHICH OUTOF``: its command, repeated.

Its users repeated it in a shell, with a sleep in between. Here Python, Django and the connection
start only once.
"""

import os
import sys
import time

import django
from django.core.management import call_command

from benchmarks import tally

PAUSE = 0.050
"""Seconds after which it looks again if there was nothing for it to do."""
JOBS = 100_000
"""At most in one go: each go reads all that waits, of which its default of 300 is but a part."""


def main(which: str, outof: str) -> None:
    """Run what is there, for ever."""
    os.chdir(os.environ["BENCHMARK_TALLY"])  # it makes its lock file where it stands
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it prints each job, for as long as it lives
    django.setup()
    while True:
        before = tally.done()
        call_command("flush_queue", which=which, outof=outof, jobs=JOBS)
        if tally.done() == before:
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
