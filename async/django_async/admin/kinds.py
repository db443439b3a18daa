"""The page of errors by function and kind, and "retry all of a kind"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from django_async import recurring
from django_async.admin import wording
from django_async.models import Error, Job
from django_async.recurring import Kind

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Error]
else:
    Base = object


class Kinds(Base):
    """For the admin of errors, to be named before its other bases."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        mine = [
            path("kinds/", wrap(require_safe(self.kinds)), name="async_error_kinds"),
            path("kinds/retry/", wrap(require_POST(self.retry)), name="async_error_retry"),
        ]
        return mine + super().get_urls()

    def kinds(self, request: HttpRequest) -> TemplateResponse:
        """The latest errors, grouped."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found, are_more = recurring.kinds()
        context = {
            "rows": [self._row(kind) for kind in found],
            "are_more": are_more,
            "latest": wording.count(recurring.LATEST),
            "may_retry": may_retry(request),
        }
        return self._page(request, "kinds", _("Errors by function and kind"), context)

    def retry(self, request: HttpRequest) -> HttpResponse:
        """Ask first; with ``confirm``, have all failed jobs of a kind run now."""
        if not (self.has_view_permission(request) and may_retry(request)):
            raise PermissionDenied
        name, kind = request.POST.get("name", ""), request.POST.get("kind") or None
        if not name or "\0" in f"{name}{kind}":
            return HttpResponseBadRequest(gettext("Which kind of error is not said."))
        ids = recurring.jobs_of(name, kind)
        if "confirm" not in request.POST:
            return self._ask(request, name, kind, recurring.waiting(ids))
        self._tell(request, name, kind, recurring.retry(ids))
        return redirect(self._address("async_error_kinds"))

    def _ask(
        self, request: HttpRequest, name: str, kind: str | None, number: int
    ) -> TemplateResponse:
        context = {
            "name": name,
            "kind": kind or "",
            "shown_name": wording.short(name),
            "shown_kind": kind_text(kind),
            "number": number,
        }
        return self._page(request, "kinds_retry", _("Retry all of a kind"), context)

    def _tell(self, request: HttpRequest, name: str, kind: str | None, number: int) -> None:
        text = ngettext("%(number)s job was retried.", "%(number)s jobs were retried.", number) % {
            "number": wording.count(number)
        }
        LogEntry.objects.create(
            user_id=request.user.pk or 0,
            content_type=ContentType.objects.get_for_model(Job),
            object_repr=f"{wording.short(name)}: {kind_text(kind)}"[:200],
            action_flag=CHANGE,
            change_message=text,
        )
        messages.success(request, text)

    def _page(
        self, request: HttpRequest, template: str, title: Any, context: dict[str, Any]
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        whole = {
            **self.admin_site.each_context(request),
            **context,
            "opts": self.opts,
            "title": title,
        }
        return TemplateResponse(request, f"admin/async/{template}.html", whole)

    def _row(self, kind: Kind) -> dict[str, Any]:
        query = urlencode({"function": kind.name})
        return {
            "name": kind.name,
            "kind": kind.kind or "",
            "shown_name": wording.short(kind.name),
            "shown_kind": kind_text(kind.kind),
            "count": wording.count(kind.count),
            "first": kind.first,
            "last": kind.last,
            "exception": wording.short(kind.exception),
            "traceback": wording.lines(kind.traceback),
            "job": kind.job_id,
            "jobs": f"{self._address('async_job_changelist')}?{query}",
        }

    def _address(self, name: str) -> str:
        return reverse(f"admin:{name}", current_app=self.admin_site.name)


def may_retry(request: HttpRequest) -> bool:
    """Whether the user may have jobs run again."""
    return bool(request.user.has_perm("async.retry_job"))


def kind_text(kind: str | None) -> str:
    """For people, on one line."""
    return wording.short(kind) if kind else gettext("not recorded")
