"""The page of one job: what it is, what has become of it, what is around it, and what can be done.

It only reads, whatever the method. What may be large is cut by the database.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models.functions import Left, Length
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from django_async import overview
from django_async.admin import wording
from django_async.admin.chips import chip, state_of
from django_async.admin.state import shown_run
from django_async.admin.verbs import VERBS, Verb
from django_async.calls import LARGE, call, with_calls
from django_async.history import Event, history
from django_async.models import Job
from django_async.neighbours import neighbours
from django_async.payload import printable

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Job]
else:
    Base = object

LONGEST = 20_000
"""Characters that are shown of the arguments, the options and the result."""

TITLES = {
    "args": _("Arguments"),
    "kwargs": _("Keyword arguments"),
    "meta": _("Options"),
    "result": _("Result"),
}

EVENTS = {
    "added": _("Scheduled"),
    "skipped": _("Earlier attempts, which failed too:"),
    "failed": _("Failed"),
    "began": _("Began, without a transaction"),
    "executed": _("Executed"),
    "cancelled": _("Cancelled"),
    "discarded": _("Discarded: given up"),
}


class Detail(Base):
    """For the admin of jobs, to be named before its other bases."""

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page."""
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        job = self.get_object(request, unquote(object_id))
        if job is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return, attr-defined]
        request.current_app = self.admin_site.name
        shown = page(job)
        context = {
            **self.admin_site.each_context(request),
            **shown,
            **(extra_context or {}),
            "verbs": [verb for verb in _sensible(shown["state"]) if verb.is_allowed(request)],
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/async/detail.html", context)

    def get_object(self, request: HttpRequest, object_id: str, *args: Any) -> Job | None:
        is_id = object_id.isascii() and object_id.isdecimal() and len(object_id) < 19
        return super().get_object(request, object_id, *args) if is_id else None


def page(job: Job) -> dict[str, Any]:
    """What the page says."""
    run = _run(job)
    state = state_of(job, runs=run is not None)
    before, after = neighbours(job) if _is_pending(job) else ([], [])
    return {
        "title": _("Job %s") % job.pk,
        "job": job,
        "call": call(job),
        "path": wording.short(job.name),
        "queue": wording.short(job.queue),
        "state": state,
        "chip": chip(state),
        "run": run,
        "group": job.group and (job.group.pk, wording.short(job.group.reference)),
        "ends": [(group.pk, wording.short(group.reference)) for group in job.ends.all()[:10]],
        "parent": _parent(job),
        "events": [_event(event) for event in history(job)],
        "texts": _texts(job),
        "neighbours": [*map(_neighbour, before), _neighbour(job), *map(_neighbour, after)],
        "has_neighbours": bool(before or after),
    }


def _is_pending(job: Job) -> bool:
    return not (job.executed or job.cancelled or job.discarded)


def _sensible(state: str) -> list[Verb]:
    """What can be done to a job in this state."""
    names = {"executed": (), "running": ("cancel",)}
    names |= dict.fromkeys(("cancelled", "discarded"), ("retry", "reschedule"))
    return [verb for verb in VERBS if verb.name in names.get(state, (verb.name,))]


def _run(job: Job) -> dict[str, Any] | None:
    """What its parent says of it, if it runs."""
    for run in overview.runs(str(job._state.db)) or ():
        if run.entry.run.job_id == job.pk and run.entry.is_alive:
            return shown_run(run)
    return None


def _parent(job: Job) -> dict[str, Any] | None:
    """The job that scheduled it, which may be gone by now."""
    if job.scheduled_by is None:
        return None
    parents = with_calls(Job.objects.using(job._state.db)).filter(pk=job.scheduled_by)
    return {"id": job.scheduled_by, "call": next(map(call, parents), None)}


def _neighbour(job: Job) -> dict[str, Any]:
    return {
        "id": job.pk,
        "name": wording.short(job.name),
        "queue": wording.short(job.queue),
        "priority": job.priority,
        "scheduled": job.scheduled,
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        **asdict(event),
        "title": EVENTS[event.what],
        "by": printable(event.by or ""),
        "took": None if event.seconds is None else wording.duration(event.seconds),
        "exception": wording.short(event.exception),
        "traceback": wording.lines(event.traceback),
    }


def _texts(job: Job) -> list[dict[str, Any]]:
    """The arguments, the options and the result: what there is of them, from the beginning."""
    beginnings = {f"{name}_text": Left(name, LONGEST) for name in LARGE}
    lengths = {f"{name}_length": Length(name) for name in LARGE}
    rows: Any = Job.objects.using(job._state.db).filter(pk=job.pk)
    return [
        _text(name, row[f"{name}_text"], row[f"{name}_length"])
        for row in rows.values(**beginnings, **lengths)  # none if it was deleted just now
        for name in LARGE
        if row[f"{name}_text"] not in ("", "[]", "{}")
    ]


def _text(name: str, text: str, length: int) -> dict[str, Any]:
    is_whole = length <= LONGEST
    return {
        "name": name,
        "title": TITLES[name],
        "text": wording.lines(_indented(text) if is_whole else text),
        "length": None if is_whole else wording.count(length),
        "shown": wording.count(LONGEST),
    }


def _indented(text: str) -> str:
    """As JSON for people; as it is, if it is none."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
