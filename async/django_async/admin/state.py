"""What the dashboard says: the state of the queue in words and numbers for its templates."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext_lazy as _

from django_async import backlog, clock, home, overview, performance
from django_async.admin import wording
from django_async.admin.charts import chart, failures
from django_async.ledger import OTHERS, Sum
from django_async.overview import Host, Run
from django_async.payload import printable
from django_async.performance import DAY, HOUR, WEEK, WINDOWS, Series
from django_async.slots import FUNCTION, QUEUE

SHOWN_LABELS = 50
"""Rows of a table of queues or functions; the others are counted."""

TITLES = {"hour": _("Last hour"), "day": _("Last day"), "week": _("Last week")}


def state(window: str) -> dict[str, Any]:
    """All that the page says; the tables of queues and functions are about that window."""
    using = home.of_queue()
    now = clock.utc_now(using)
    series = {one.window.name: one for one in performance.series(now, (HOUR, DAY, WEEK), using)}
    functions = performance.by_label(FUNCTION, series[window].since, using)
    return {
        "now": clock.as_field_value(now),
        **_now(now, using, _times(now, series, functions if window == HOUR.name else None, using)),
        **_of_late(now, window, series, functions, using),
    }


def _times(
    now: datetime, series: dict[str, Series], recent: dict[str, Sum] | None, using: str
) -> overview.Times:
    """How long attempts took, by what was read of the last hour already, if it was."""
    if recent is None:
        recent = performance.by_label(FUNCTION, series[HOUR.name].since, using)
    return overview.Times(recent, series[DAY.name].total.mean, now, using)


def _now(now: datetime, using: str, times: overview.Times) -> dict[str, Any]:
    running = overview.runs(using)
    standing = overview.standing(using, running or [])
    hosts = overview.hosts(using, running or [])
    workers = sum(host.parent.workers for host in hosts if host.is_alive)
    return {
        "tiles": _tiles(standing, running),
        "oldest": _oldest(using, now),
        "estimate": _estimate(using, standing.due, workers, times),
        "pauses": [(wording.short(one.queue), one.since) for one in overview.pauses(using)],
        "runs": None if running is None else [shown_run(run) for run in running],
        "hosts": [_host(host, now) for host in hosts],
        "workers": workers,
    }


def _of_late(
    now: datetime,
    window: str,
    series: dict[str, Series],
    functions: dict[str, Sum],
    using: str,
) -> dict[str, Any]:
    since = series[window].since
    queues = performance.by_label(QUEUE, since, using)
    return {
        "charts": [(TITLES[name], chart(one, now)) for name, one in series.items()],
        "window": window,
        "windows": [(name, TITLES[name]) for name in WINDOWS],
        "since": clock.as_field_value(since),
        "tables": [
            ("all", _("All jobs"), _("Window"), _all_jobs(series), 0),
            (QUEUE, _("By queue"), _("Queue"), *_table(QUEUE, queues)),
            (FUNCTION, _("By function"), _("Function"), *_table(FUNCTION, functions)),
        ],
    }


def _tiles(standing: overview.Standing, running: list[Run] | None) -> list[dict[str, Any]]:
    alive = [run for run in running or [] if run.entry.is_alive]
    return [
        _tile("due", _("Due"), wording.number(standing.due), _("wait for a worker")),
        _tile(
            *("running", _("Running")),
            wording.NOTHING if running is None else wording.count(len(alive)),
            _("cannot be read") if running is None else _("right now"),
            leads=running is not None,
        ),
        _tile("scheduled", _("Scheduled"), wording.number(standing.scheduled), _("for later")),
        _tile("failing", _("Failing"), wording.number(standing.failing), _("will be tried again")),
        _tile("discarded", _("Discarded"), wording.number(standing.discarded), _("were given up")),
        _tile("executed", _("Executed"), wording.number(standing.executed), _("are done")),
        _tile("cancelled", _("Cancelled"), wording.number(standing.cancelled), _("taken out")),
    ]


def _tile(state: str, title: Any, number: str, note: Any, *, leads: bool = True) -> dict[str, Any]:
    """A number; with ``leads``, the list of jobs has those of the state."""
    return {"state": state, "title": title, "number": number, "note": note, "leads": leads}


def _oldest(using: str, now: datetime) -> dict[str, Any] | None:
    if not (found := backlog.oldest(using)):
        return None
    job, since = found
    age = (now - clock.as_utc(since)).total_seconds()
    return {
        "id": job.pk,
        "name": wording.short(job.name),
        "queue": wording.short(job.queue),
        "since": since,
        "age": wording.duration(age),
    }


def _estimate(
    using: str, due: overview.Number, workers: int, times: overview.Times
) -> dict[str, Any] | None:
    found = overview.estimate(using, due.value, workers, times)
    if found is None:
        return None
    time = wording.duration(found.seconds)
    return {
        "time": _("more than %s") % time if due.is_more else time,
        "workers": found.workers,
        "run_time": wording.duration(found.run_time),
    }


def shown_run(run: Run) -> dict[str, Any]:
    """A job that runs, with its progress."""
    shown = run.entry.run
    total = shown.total if shown.total and shown.total > 0 else None
    done = min(max(shown.done or 0.0, 0.0), total) if total else None
    return {
        "id": shown.job_id,
        "name": wording.short(run.name),
        "queue": wording.short(run.queue),
        "since": shown.since,
        "age": wording.duration(run.seconds),
        "attempt": shown.attempt,
        "host": run.entry.parent.host if run.entry.parent else wording.NOTHING,
        "pid": shown.pid,
        "is_alive": run.entry.is_alive,
        "total": f"{total:.6g}" if total else None,
        "done": f"{done:.6g}" if total else None,
        "percent": f"{100 * done / total:.0f}" if total and done is not None else None,
        "message": printable(shown.message),
    }


def _host(host: Host, now: datetime) -> dict[str, Any]:
    parent = host.parent
    age = (now - clock.as_utc(host.seen)).total_seconds()
    return {
        "host": wording.short(parent.host),
        "pid": parent.process.split()[0],
        "workers": parent.workers,
        "busy": len(host.busy),
        "pids": ", ".join(str(run.entry.run.pid) for run in host.busy),
        "since": parent.began,
        "is_alive": host.is_alive,
        "seen": host.seen,
        "age": wording.duration(age),
    }


def _all_jobs(series: dict[str, Series]) -> list[dict[str, Any]]:
    return [{**_row("", one.total), "label": TITLES[name]} for name, one in series.items()]


def _table(scope: str, sums: dict[str, Sum]) -> tuple[list[dict[str, Any]], int]:
    """The rows of those that were attempted most, each leading to its jobs, and how many others
    there are."""
    rows = [
        {**_row(label, found), "query": "" if label == OTHERS else urlencode({scope: label})}
        for label, found in list(sums.items())[:SHOWN_LABELS]
    ]
    return rows, max(0, len(sums) - SHOWN_LABELS)


def _row(label: str, found: Sum) -> dict[str, Any]:
    failed = failures(found)
    times = performance.percentiles(found)
    return {
        "label": wording.short(label),
        "executed": wording.count(found.outcomes["executed"]),
        "failed": wording.count(failed),
        "has_failed": failed > 0,
        "share": wording.share(failed, found.outcomes["executed"] + failed),
        "waits": [wording.duration(seconds) for seconds in times["waits"]],
        "runs": [wording.duration(seconds) for seconds in times["runs"]],
    }
