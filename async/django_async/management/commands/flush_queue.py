"""``manage.py flush_queue``: one pass over the jobs that are due, or a service."""

from __future__ import annotations

import operator
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from django_async import (
    announcement,
    conf,
    errors,
    fetch,
    metrics,
    plans,
    report,
    runner,
    sessions,
    wake,
    worker,
    workplace,
)
from django_async.changes import Changes
from django_async.engine import Duty, Engine
from django_async.exporter import Address
from django_async.forking import set_aside, take_up
from django_async.lane import Lane
from django_async.lifesign import LivenessFile
from django_async.management import arguments, databases
from django_async.parents import Registration
from django_async.patrol import Interval, Patrol
from django_async.scout import Scout
from django_async.terms import Attempt, Options, Summary
from django_async.upkeep import (
    Accountant,
    Cleaner,
    Reaper,
    Reloader,
    Supervisor,
    postpone_signals,
    start_anew,
)
from django_async.walk import Walk
from forkpool import ForkPool, ForkUnavailable, InlinePool, Pool, PoolError, StopSignals

GOODBYE = 2.0
"""Seconds for workers without a job to end by themselves."""

AHEAD = 4
"""Jobs a worker that may be handed out ahead of need. A busy machine lets the parent have its turn
every few milliseconds, in which a worker ends some short jobs."""

PATIENCE_WITH_THE_CANCELLED = 60.0
"""Seconds from the request to cancel a job to the end of its worker, if the job is stuck where it
cannot be interrupted: beside its own code, in a ``__repr__`` of its error, say. What the queue does
there takes no longer itself."""

COUNT_AT_MOST = 100_000
"""Jobs that are counted to give the progress bar an end."""


class Command(BaseCommand):
    help = "Executes the jobs that are due now, in order, in a single pass; or all, for ever."
    _engine: Engine | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        arguments.add_to(parser)

    def handle(self, **options: Any) -> None:
        arguments.check(options)
        aliases = databases.all_chosen(options["database"])
        for alias in aliases:
            databases.refuse_impossible(alias, options["workers"])
        with ExitStack() as stack:
            stop = stack.enter_context(
                StopSignals(on_second=self._interrupt, hangups=options["forever"])
            )
            postpone_signals(postponed=False)  # since this process started anew, if it has
            reloader = Reloader()
            starts_anew = partial(_starts_anew, stop, reloader)
            duties: list[Duty] = [reloader] if options["reload"] else []
            if options["forever"]:
                supervisor = Supervisor(starts_anew)
                stack.callback(supervisor.say_goodbye)
                duties.append(supervisor)
            try:
                summary = self._run(stack, stop, duties, aliases, options)
            except errors.StopNow:
                raise SystemExit(128 + (stop.signum or 0)) from None
            except ForkUnavailable as error:
                raise CommandError(
                    "This system forks no processes: leave out --workers."
                ) from error
            except (PoolError, errors.QueueStopped) as error:
                raise CommandError(str(error)) from error
            if is_anew := starts_anew():
                postpone_signals(postponed=True)
        self._conclude(summary, options)
        if is_anew:
            start_anew()

    def _run(
        self,
        stack: ExitStack,
        stop: StopSignals,
        duties: list[Duty],
        aliases: list[str],
        options: dict[str, Any],
    ) -> Summary:
        counted = self._metrics(stack, aliases, options)
        for alias in aliases:
            stack.enter_context(
                sessions.bounded_waits(connections[alias], conf.current().timeout_grace)
            )
        if options["workers"]:
            plans.begin()
            stack.callback(plans.give_up)
        else:
            sessions.loosen_waits()
        pool = stack.enter_context(_pool(options, stop, aliases))
        lanes = [_lane(alias, pool, options) for alias in aliases]
        shown = self._reporter(lanes, options)
        stack.callback(shown.close)
        if options["forever"]:
            begins = announcement.Announcer(shown.say, options["workers"], options["queue"])
            duties = [*duties, begins, *_duties(stack, lanes, pool, counted, options)]
        self._engine = Engine(
            lanes=lanes,
            pool=pool,
            clock=time.monotonic,
            stop=stop,
            report=shown,
            attempt=_attempt(options),
            options=_options(options),
            duties=duties,
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
        if engine is None or isinstance(engine.pool, InlinePool) or engine.is_busy_with_database:
            raise errors.StopNow

    def _metrics(
        self, stack: ExitStack, aliases: list[str], options: dict[str, Any]
    ) -> metrics.Metrics:
        """Before anything else: a port that is taken is to be known at the start."""
        address: Address | None = options["metrics"]
        if address is None:
            return metrics.NoMetrics()
        shared = [alias for alias in aliases if not databases.is_in_memory(connections[alias])]
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

    def _reporter(self, lanes: list[Lane], options: dict[str, Any]) -> report.Bar | report.Lines:
        if self.stderr.isatty() and options["verbosity"] == 1:
            return report.Bar(sys.stderr, None if options["forever"] else _count(lanes))
        return report.Lines(self.stdout.write, options["verbosity"], self.stdout.flush)

    def _conclude(self, summary: Summary, options: dict[str, Any]) -> None:
        if options["verbosity"] >= 1:
            self.stdout.write(report.summarise(summary))
        if summary.first_failure and not (
            options["forever"] and options["keep_going"] is not False
        ):
            raise CommandError(report.describe(summary.first_failure), returncode=1)


def _attempt(options: dict[str, Any]) -> Attempt:
    """What makes an attempt at a job: a worker, or this process itself."""
    if not options["workers"]:
        return runner.run_job
    return worker.attempt_aloud if options["verbosity"] >= report.EACH else worker.attempt


def _lane(using: str, pool: Pool, options: dict[str, Any]) -> Lane:
    """The walk over one database, and what goes with it."""
    settings = conf.current()
    forever = options["forever"]
    chosen = fetch.Selection(
        options["filter"], tuple(options["queue"]), options["which"], options["outof"] or 1
    )
    reads = fetch.Fetch(using, None if forever else fetch.bounds(using), chosen)
    interval = Interval(settings.poll_min, settings.poll_max)
    is_sqlite = connections[using].vendor == "sqlite"
    return Lane(
        using=using,
        walk=Patrol(reads, settings.batch_size, time.monotonic, interval)
        if forever
        else Walk(reads, settings.batch_size, time.monotonic),
        parent=Registration(using, options["workers"] or 1),
        pool=pool,
        clock=time.monotonic,
        one_writer=is_sqlite,
        ear=wake.Ear(using) if forever else None,
        changes=Changes(using, interval.least) if forever and is_sqlite else None,
    )


def _options(options: dict[str, Any]) -> Options:
    goes_on = options["keep_going"]
    return Options(
        limit=options["jobs"],
        keep_going=options["forever"] if goes_on is None else goes_on,
        grace=conf.current().stop_grace,
    )


def _duties(
    stack: ExitStack,
    lanes: list[Lane],
    pool: Pool,
    counted: metrics.Metrics,
    options: dict[str, Any],
) -> Iterator[Duty]:
    if path := options["liveness_file"]:
        yield stack.enter_context(closing(_liveness_file(path)))
    scout = stack.enter_context(closing(Scout(lanes)))
    if len(lanes) > 1:
        yield scout
    if os.getpid() == 1:
        yield Reaper(pool, lambda: [*counted.pids, *scout.pids])
    call = worker.chore if options["workers"] else operator.call
    seconds = conf.current().retention
    for lane in lanes:
        yield Accountant(lane, call)
        if seconds is not None:
            yield Cleaner(lane, seconds, call)


def _liveness_file(path: Path) -> LivenessFile:
    try:
        return LivenessFile(path)
    except OSError as error:
        raise CommandError(f"--liveness-file: {error}") from error


def _starts_anew(stop: StopSignals, reloader: Reloader) -> bool:
    """Whether the service ends only in order to begin again."""
    return not stop.count and (stop.hangups > 0 or reloader.has_changed)


def _count(lanes: list[Lane]) -> int | None:
    """How many jobs a pass has before it, unless there are too many to be counted."""
    total = sum(lane.walk.count(COUNT_AT_MOST) for lane in lanes)
    return total if total < COUNT_AT_MOST else None


def _pool(options: dict[str, Any], stop: StopSignals, aliases: list[str]) -> Pool:
    if not options["workers"]:
        return InlinePool(wakeup=stop.fileno())
    workplace.prepare()
    return ForkPool(
        options["workers"],
        initializer=partial(worker.begin, options["max_jobs_per_worker"]),
        before_fork=partial(set_aside, aliases),
        after_fork=take_up,
        ahead=AHEAD * options["workers"] if _options(options).keep_going else 0,
        max_tasks_per_child=options["max_jobs_per_worker"],
        max_memory_per_child=options["max_memory_per_worker"],
        memory_limit=options["memory_limit"],
        grace=conf.current().timeout_grace,
        patience=PATIENCE_WITH_THE_CANCELLED,
        wakeup=stop.fileno(),
    )
