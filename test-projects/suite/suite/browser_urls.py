"""The addresses of what a browser looks at."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from suite import urls


def no_icon(request: HttpRequest) -> HttpResponse:
    """Browsers ask for one, and complain without an answer."""
    return HttpResponse(status=204)


urlpatterns = [
    path("favicon.ico", no_icon),
    path("async/", include("django_async.urls")),
    *urls.urlpatterns,
]
