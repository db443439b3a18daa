"""The addresses of what a browser looks at."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from suite import urls


def no_icon(request: HttpRequest) -> HttpResponse:
    """Browsers ask for one, and complain without an answer."""
    return HttpResponse(status=204)


urlpatterns = [path("favicon.ico", no_icon), *urls.urlpatterns]
