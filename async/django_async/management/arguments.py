"""The options of ``manage.py flush_queue``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_async.api import checked_queue
from django_async.exporter import Address
from django_async.management import databases
from django_async.metrics import read_address

OF_WORKERS = ("max_jobs_per_worker", "max_memory_per_worker", "memory_limit")
"""Options that say something of worker processes, and nothing without them."""

OF_SERVICES = ("reload", "liveness_file")
"""Options that say something of a service."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def add_to(parser: CommandParser) -> None:
    """Add them all."""
    _add_what(parser)
    _add_how(parser)
    _add_limits(parser)


def check(options: dict[str, Any]) -> None:
    """Refuse what would be ignored: raises CommandError, which says what goes with what."""
    for option in OF_SERVICES:
        if options[option] and not options["forever"]:
            raise _refusal(f"{_named(option)} is for a service: it needs --forever.")
    for name in OF_WORKERS:
        if options[name] is not None and not options["workers"]:
            raise _refusal(
                f"{_named(name)} is about worker processes: it needs --workers N, from 1."
            )
    _check_share(options["which"], options["outof"])


def _check_share(which: int, outof: int | None) -> None:
    if which and outof is None:
        raise _refusal("--which I is a share of the jobs: it needs --outof N.")
    if not 0 <= which <= (outof or 1):
        raise _refusal(
            f"--which {which} is none of the shares of --outof {outof or 1}: count them from 0, or"
            " from 1."
        )


def _named(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _refusal(message: str) -> CommandError:
    return CommandError(message, returncode=2)


def _add_what(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--jobs", "-j", type=positive, metavar="N", help="attempt at most N jobs")
    add("--filter", "-f", default="", metavar="PREFIX", help="only jobs whose name starts so")
    add(
        "--queue",
        type=queue_name,
        action="append",
        default=[],
        metavar="NAME",
        help="only this queue; repeatable",
    )
    add("--which", "-w", type=int, default=0, metavar="I", help="with --outof: id %% N == I %% N")
    add("--outof", "-o", type=positive, metavar="N", help="see --which")
    add(
        "--database",
        action="append",
        default=[],
        metavar="ALIAS",
        help="the queue's database; repeatable: of several, each gets its turn;"
        f" {databases.DEFAULT}",
    )


def _add_how(parser: CommandParser) -> None:
    add = parser.add_argument
    add(
        "--workers",
        type=_workers,
        default=0,
        metavar="N",
        help="how many worker processes to fork, or 'auto' for one a CPU;"
        " without it, jobs run in this process, one after the other",
    )
    add("--forever", action="store_true", help="be a service: go on until a signal says to stop")
    add(
        "--reload",
        action="store_true",
        help="with --forever, for development: start anew when the code changes",
    )
    add(
        "--metrics",
        type=_address,
        metavar="[HOST:]PORT",
        help="show metrics to Prometheus there; without a host, to this host alone",
    )
    add(
        "--liveness-file",
        type=Path,
        metavar="PATH",
        help="with --forever: touch this file every five seconds, for a liveness probe",
    )
    after_failure = parser.add_mutually_exclusive_group()
    after_failure.add_argument(
        "--keep-going",
        action="store_true",
        default=None,
        help="go on after a job has failed, as --forever does anyway",
    )
    after_failure.add_argument(
        "--stop-on-error",
        dest="keep_going",
        action="store_false",
        default=None,
        help="stop after a job has failed, as a pass does anyway",
    )


def _add_limits(parser: CommandParser) -> None:
    add = parser.add_argument
    add(
        "--max-jobs-per-worker",
        type=positive,
        metavar="N",
        help="replace a worker process after N jobs; 1 is a fresh fork for each job",
    )
    add(
        "--max-memory-per-worker",
        type=read_size,
        metavar="SIZE",
        help="replace a worker process that occupies more memory after a job (200M, 1G)",
    )
    add(
        "--memory-limit",
        type=read_size,
        metavar="SIZE",
        help="fail a job with a MemoryError if its process would need more address space",
    )


def _address(text: str) -> Address:
    try:
        return read_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _workers(text: str) -> int:
    if text == "auto":
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    number = int(text) if text.isdecimal() else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of processes nor 'auto'")
    return number


def read_size(text: str) -> int:
    """Bytes, from a whole number with or without a unit."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not number.isdecimal() or int(number) < 1 or unit not in _UNITS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size such as 200M or 1G (units: K, M, G; without one, bytes)"
        )
    return int(number) * _UNITS[unit]


def queue_name(text: str) -> str:
    """The name of a queue, if one may have it."""
    try:
        return checked_queue(text)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number
