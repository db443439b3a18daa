"""Measure the queue, and say what came out as a Markdown document."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from benchmarks.measure import Plan, Round

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
DATABASES = ("postgres", "sqlite")


def main() -> None:
    options = parser().parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    document = measure(options)
    if options.write:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(document, encoding="utf-8")
    else:
        print(document)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__} It takes about a quarter of an hour.",
        epilog="POSTGRES_HOST, _PORT, _USER and _PASSWORD say where PostgreSQL is.",
    )
    add = parser.add_argument
    add("--database", action="append", choices=DATABASES, help="only this one; repeatable")
    add("--rounds", type=positive, metavar="N", help="5, or 3 with --quick")
    add("--jobs", type=positive, metavar="N", help="in the queue: 5,000, or 1,000 with --quick")
    add("--workers", type=positive, nargs="+", default=[1, 2, 4, 8], metavar="N", help="1 2 4 8")
    add("--quick", action="store_true", help="rougher, in about two minutes")
    add("--write", action="store_true", help="write docs/performance.md instead of printing it")
    return parser


def positive(text: str) -> int:
    """A whole number from 1, from the command line."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def measure(options: argparse.Namespace) -> str:
    """Run all rounds; the document."""
    from benchmarks import machine, report  # models need Django's apps to be ready
    from benchmarks.measure import Plan, scratch_database

    plan = Plan(
        rounds=options.rounds or (3 if options.quick else 5),
        jobs=options.jobs or (1_000 if options.quick else 5_000),
        workers=tuple(options.workers),
    )
    results = []
    for alias in options.database or DATABASES:
        with scratch_database(alias):
            rounds = [timed(alias, plan, number) for number in range(1, plan.rounds + 1)]
            results.append(report.Result(alias, machine.describe_database(alias), rounds))
    return report.document(results, plan, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))


def timed(alias: str, plan: Plan, number: int) -> Round:
    """One round, with a sign of life."""
    from benchmarks.measure import measure as measure_once

    began = time.monotonic()
    result = measure_once(alias, plan)
    seconds = time.monotonic() - began
    print(f"{alias}: round {number} of {plan.rounds}, {seconds:.0f} s", file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
