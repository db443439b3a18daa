"""The page that people open first when something is wrong: how the queue is, now and of late.

It is a page of the jobs' admin and no model of its own, so that it needs no permission, table or
AdminSite but those that are there. The list of the application's models links to it by a template
of the name that Django looks for first, ``admin/async/app_index.html``. The page asks for its inner
part again and again; both only read.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from django_async import backlog, clock, overview, performance
from django_async.admin import wording
from django_async.admin.charts import chart, failures
from django_async.ledger import Sum
from django_async.models import Job
from django_async.overview import Host, Run
from django_async.payload import printable
from django_async.performance import DAY, HOUR, WEEK, WINDOWS, Series
from django_async.slots import FUNCTION, QUEUE

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Job]
else:
    Base = object

EVERY = 5
"""Seconds between two refreshes, unless the address says otherwise: ``?every=30``."""

EVERY_AT_LEAST, EVERY_AT_MOST = 1, 3600

LONGEST_NAME = 120
"""Characters of a name that are shown."""

SHOWN_LABELS = 50
"""Rows of a table of queues or functions; the others are counted."""

TITLES = {"hour": _("Last hour"), "day": _("Last day"), "week": _("Last week")}


class Dashboard(Base):
    """For the admin of jobs, to be named before its other bases."""

    def get_urls(self) -> list[URLPattern]:
        views = (("dashboard/", self.dashboard), ("dashboard/now/", self.dashboard_now))
        names = ("async_dashboard", "async_dashboard_now")
        mine = [
            path(route, self.admin_site.admin_view(require_safe(view)), name=name)
            for (route, view), name in zip(views, names, strict=True)
        ]
        return mine + super().get_urls()

    def dashboard(self, request: HttpRequest) -> TemplateResponse:
        """The whole page."""
        context = {
            **self.admin_site.each_context(request),
            **self._state(request),
            "opts": self.opts,
            "title": _("Dashboard"),
        }
        return TemplateResponse(request, "admin/async/dashboard.html", context)

    def dashboard_now(self, request: HttpRequest) -> TemplateResponse:
        """Its inner part."""
        return TemplateResponse(request, "admin/async/dashboard_now.html", self._state(request))

    def _state(self, request: HttpRequest) -> dict[str, Any]:
        if not self.has_view_permission(request):
            raise PermissionDenied
        request.current_app = self.admin_site.name
        here = reverse("admin:async_dashboard_now", current_app=self.admin_site.name)
        window, every = _window(request), _seconds(request)
        return {
            **state(window),
            "every": every,
            "now_url": f"{here}?window={window}&every={every}",
        }


def state(window: str) -> dict[str, Any]:
    """All that the page says; the tables of queues and functions are about that window."""
    using = Job.objects.db
    now = clock.utc_now(using)
    running = overview.runs(using)
    standing = overview.standing(using, running or [])
    found = overview.hosts(using, running or [])
    workers = sum(host.parent.workers for host in found if host.is_alive)
    series = performance.series(now, (HOUR, DAY, WEEK), using)
    [chosen] = [one for one in series if one.window.name == window]
    queues = performance.by_label(QUEUE, chosen.since, using)
    functions = performance.by_label(FUNCTION, chosen.since, using)
    hour, day, _week = series
    recent = functions if chosen is hour else performance.by_label(FUNCTION, hour.since, using)
    times = overview.Times(recent, day.total.mean, now, using)
    return {
        "now": clock.as_field_value(now),
        "tiles": _tiles(standing, running),
        "oldest": _oldest(using, now),
        "estimate": _estimate(using, standing.due, workers, times),
        "pauses": [(_short(one.queue), one.since) for one in overview.pauses(using)],
        "runs": None if running is None else [_run(run) for run in running],
        "hosts": [_host(host, now) for host in found],
        "workers": workers,
        "charts": [(TITLES[one.window.name], chart(one, now)) for one in series],
        "window": window,
        "windows": [(name, TITLES[name]) for name in WINDOWS],
        "since": clock.as_field_value(chosen.since),
        "tables": [
            ("all", _("All jobs"), _("Window"), _all_jobs(series), 0),
            (QUEUE, _("By queue"), _("Queue"), *_table(queues)),
            (FUNCTION, _("By function"), _("Function"), *_table(functions)),
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
        ),
        _tile("scheduled", _("Scheduled"), wording.number(standing.scheduled), _("for later")),
        _tile("failing", _("Failing"), wording.number(standing.failing), _("will be tried again")),
        _tile("discarded", _("Discarded"), wording.number(standing.discarded), _("were given up")),
        _tile("executed", _("Executed"), wording.number(standing.executed), _("are done")),
        _tile("cancelled", _("Cancelled"), wording.number(standing.cancelled), _("taken out")),
    ]


def _tile(state: str, title: Any, number: str, note: Any) -> dict[str, Any]:
    return {"state": state, "title": title, "number": number, "note": note}


def _oldest(using: str, now: datetime) -> dict[str, Any] | None:
    if not (found := backlog.oldest(using)):
        return None
    job, since = found
    age = (now - clock.as_utc(since)).total_seconds()
    return {
        "id": job.pk,
        "name": _short(job.name),
        "queue": _short(job.queue),
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


def _run(run: Run) -> dict[str, Any]:
    shown = run.entry.run
    total = shown.total if shown.total and shown.total > 0 else None
    done = min(max(shown.done or 0.0, 0.0), total) if total else None
    return {
        "id": shown.job_id,
        "name": _short(run.name),
        "queue": _short(run.queue),
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
        "host": _short(parent.host),
        "pid": parent.process.split()[0],
        "workers": parent.workers,
        "busy": len(host.busy),
        "pids": ", ".join(str(run.entry.run.pid) for run in host.busy),
        "since": parent.began,
        "is_alive": host.is_alive,
        "seen": host.seen,
        "age": wording.duration(age),
    }


def _all_jobs(series: list[Series]) -> list[dict[str, Any]]:
    return [{**_row("", one.total), "label": TITLES[one.window.name]} for one in series]


def _table(sums: dict[str, Sum]) -> tuple[list[dict[str, Any]], int]:
    """The rows of those that were attempted most, and how many others there are."""
    rows = [_row(label, found) for label, found in list(sums.items())[:SHOWN_LABELS]]
    return rows, max(0, len(sums) - SHOWN_LABELS)


def _row(label: str, found: Sum) -> dict[str, Any]:
    failed = failures(found)
    times = performance.percentiles(found)
    return {
        "label": _short(label),
        "executed": wording.count(found.outcomes["executed"]),
        "failed": wording.count(failed),
        "has_failed": failed > 0,
        "share": wording.share(failed, found.outcomes["executed"] + failed),
        "waits": [wording.duration(seconds) for seconds in times["waits"]],
        "runs": [wording.duration(seconds) for seconds in times["runs"]],
    }


def _short(name: str) -> str:
    """On one line, and not endless; marks of direction and control characters are shown as such."""
    text = printable(name[: LONGEST_NAME + 1])
    return text if len(name) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"


def _window(request: HttpRequest) -> str:
    name = request.GET.get("window", HOUR.name)
    return name if name in WINDOWS else HOUR.name


def _seconds(request: HttpRequest) -> int:
    text = request.GET.get("every", "")
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        return EVERY
    return min(max(int(text), EVERY_AT_LEAST), EVERY_AT_MOST)
