"""The page that people open first when something is wrong: how the queue is, now and of late.

It is a page of the jobs' admin and no model of its own, so that it needs no permission, table or
AdminSite but those that are there. The list of the application's models links to it by a template
of the name that Django looks for first, ``admin/async/app_index.html``. The page asks for its inner
part again and again; both only read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from django_async.admin.state import state
from django_async.models import Job
from django_async.performance import HOUR, WINDOWS

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Job]
else:
    Base = object

EVERY = 5
"""Seconds between two refreshes, unless the address says otherwise: ``?every=30``."""

EVERY_AT_LEAST, EVERY_AT_MOST = 1, 3600


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


def _window(request: HttpRequest) -> str:
    name = request.GET.get("window", HOUR.name)
    return name if name in WINDOWS else HOUR.name


def _seconds(request: HttpRequest) -> int:
    text = request.GET.get("every", "")
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        return EVERY
    return min(max(int(text), EVERY_AT_LEAST), EVERY_AT_MOST)
