"""``manage.py flush_queue``: one pass over the jobs that are due."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from django_async import conf, errors, fetch, metrics, report, runner, sessions, worker
from django_async.engine import Engine, Options, Summary
from django_async.exporter import Address
from django_async.forking import close_connections
from django_async.parents import Registration
from django_async.walk import Walk
from forkpool import ForkPool, ForkUnavailable, InlinePool, Pool, PoolError, StopSignals

GOODBYE = 2.0
"""Seconds for workers without a job to end by themselves."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

COUNT_AT_MOST = 100_000
"""Jobs that are counted to give the progress bar an end."""


class Command(BaseCommand):
    help = "Executes the jobs that are due now, in order, in a single pass."
    _engine: Engine | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add(
            "--workers",
            type=_workers,
            default=0,
            metavar="N",
            help="how many worker processes to fork, or 'auto' for one a CPU;"
            " without it, jobs run in this process, one after the other",
        )
        add("--jobs", "-j", type=_positive, metavar="N", help="attempt at most N jobs")
        add("--filter", "-f", default="", metavar="PREFIX", help="only jobs whose name starts so")
        add(
            "--queue",
            action="append",
            default=[],
            metavar="NAME",
            help="only this queue; repeatable",
        )
        add("--which", "-w", type=int, default=0, metavar="I", help="with --outof: id %% N == I")
        add("--outof", "-o", type=_positive, default=1, metavar="N", help="see --which")
        add("--database", default=DEFAULT_DB_ALIAS, metavar="ALIAS", help="the queue's database")
        add("--keep-going", action="store_true", help="go on after a job has failed")
        add(
            "--max-jobs-per-worker",
            type=_positive,
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
        add(
            "--metrics",
            type=_address,
            metavar="[HOST:]PORT",
            help="show metrics to Prometheus there; without a host, to this host alone",
        )

    def handle(self, **options: Any) -> None:
        using = self._database(options["database"])
        _refuse_impossible(using, options["workers"])
        with ExitStack() as stack:
            stop = stack.enter_context(StopSignals(on_second=self._interrupt))
            try:
                summary = self._run(stack, stop, using, options)
            except errors.StopNow:
                raise SystemExit(128 + (stop.signum or 0)) from None
            except ForkUnavailable as error:
                raise CommandError(
                    "This system forks no processes: leave out --workers."
                ) from error
            except (PoolError, errors.QueueStopped) as error:
                raise CommandError(str(error)) from error
        self._conclude(summary, options["verbosity"])

    def _run(
        self, stack: ExitStack, stop: StopSignals, using: str, options: dict[str, Any]
    ) -> Summary:
        counted = self._metrics(stack, using, options)
        if options["workers"]:
            stack.enter_context(
                sessions.bounded_reads(connections[using], conf.current().timeout_grace)
            )
        pool = stack.enter_context(_pool(options, stop))
        chosen = fetch.Selection(
            options["filter"], tuple(options["queue"]), options["which"], options["outof"]
        )
        reads = fetch.Fetch(using, fetch.bounds(using), chosen)
        shown = self._reporter(reads, options["verbosity"])
        stack.callback(shown.close)
        one_writer = 1 if connections[using].vendor == "sqlite" else None
        self._engine = Engine(
            walk=Walk(reads, conf.current().batch_size, time.monotonic),
            pool=pool,
            parent=Registration(using, options["workers"] or 1),
            using=using,
            clock=time.monotonic,
            stop=stop,
            report=shown,
            attempt=worker.attempt if options["workers"] else runner.run_job,
            options=Options(options["jobs"], options["keep_going"], one_writer),
            metrics=counted,
        )
        try:
            return self._engine.run()
        finally:
            # Nothing runs any more: what does not go now is kept by a thread that a job has left.
            pool.shutdown(timeout=GOODBYE)

    def _interrupt(self, _signum: int) -> None:
        """At a second signal: out of the job that runs in this process, or out of a statement that
        gets no answer. Otherwise the engine sees it at its next turn."""
        engine = self._engine
        if engine is None or isinstance(engine.pool, InlinePool) or engine.access.busy:
            raise errors.StopNow

    def _metrics(self, stack: ExitStack, using: str, options: dict[str, Any]) -> metrics.Metrics:
        """Before anything else: a port that is taken is to be known at the start."""
        address: Address | None = options["metrics"]
        if address is None:
            return metrics.NoMetrics()
        shared = [] if _is_in_memory(connections[using]) else [using]
        try:
            shown = metrics.Prometheus(address, shared)
        except OSError as error:
            raise CommandError(f"--metrics {address}: {error.strerror or error}.") from error
        except PoolError as error:
            raise CommandError(f"--metrics needs a process of its own: {error}") from error
        stack.callback(shown.close)
        if options["verbosity"] >= 1:
            self.stdout.write(f"Metrics are at http://{shown.address}/metrics")
            self.stdout.flush()
        return shown

    def _reporter(self, reads: fetch.Fetch, verbosity: int) -> report.Bar | report.Lines:
        if self.stderr.isatty() and verbosity == 1:
            total = reads.count(COUNT_AT_MOST)
            return report.Bar(sys.stderr, total if total < COUNT_AT_MOST else None)
        return report.Lines(self.stdout.write, verbosity)

    def _conclude(self, summary: Summary, verbosity: int) -> None:
        if verbosity >= 1:
            self.stdout.write(report.summarise(summary))
        if summary.first_failure:
            raise CommandError(report.describe(summary.first_failure), returncode=1)

    def _database(self, alias: str) -> str:
        if alias not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {alias!r} in DATABASES, which has: {known}.")
        return alias


def _pool(options: dict[str, Any], stop: StopSignals) -> Pool:
    if not options["workers"]:
        return InlinePool(wakeup=stop.fileno())
    return ForkPool(
        options["workers"],
        initializer=worker.begin,
        before_fork=close_connections,
        max_tasks_per_child=options["max_jobs_per_worker"],
        max_memory_per_child=options["max_memory_per_worker"],
        memory_limit=options["memory_limit"],
        grace=conf.current().timeout_grace,
        wakeup=stop.fileno(),
    )


def _refuse_impossible(using: str, workers: int) -> None:
    """Say at once what cannot work: jobs in a transaction, workers with another database."""
    connection = connections[using]
    try:
        runner.refuse_open_transaction(using)
    except errors.JobNotRunnable as error:
        raise CommandError(str(error)) from error
    if workers and connection.in_atomic_block:
        raise CommandError(
            "Workers cannot see what this transaction has not committed (a TestCase?):"
            " use a TransactionTestCase, or leave out --workers."
        )
    if workers and _is_in_memory(connection):
        raise CommandError(
            "Workers cannot share an in-memory SQLite database: use a file (in tests:"
            ' "TEST": {"NAME": BASE_DIR / "test.sqlite3"}), or leave out --workers.'
        )


def _is_in_memory(connection: Any) -> bool:
    return bool(connection.vendor == "sqlite" and connection.is_in_memory_db())


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


def _address(text: str) -> Address:
    try:
        return metrics.read_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number
