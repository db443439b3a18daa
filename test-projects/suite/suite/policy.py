"""Middleware: the Content-Security-Policy of a careful site. Django has its own from 6.0 on."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

POLICY = "default-src 'self'"
"""Nothing inline, neither script nor style, and nothing from elsewhere."""

Answer = Callable[[HttpRequest], HttpResponseBase]


def strict_policy(get_response: Answer) -> Answer:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return middleware
