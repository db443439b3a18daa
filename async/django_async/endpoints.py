"""The queue for machines, over HTTP: ``path("async/", include("django_async.urls"))``.

Each answer but that of ``metrics/`` is JSON, an error too: ``{"error": "what is wrong"}``. Who asks
is a user of Django's with the permission, or sends the token of the settings, which is for reading.
How many requests may come is for the server in front to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, ValidationError
from django.db import DatabaseError, connections
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.crypto import constant_time_compare
from django.utils.dateparse import parse_datetime
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from django_async import conf, home, progress
from django_async.api import health as read_health
from django_async.byhand import schedule_by_hand
from django_async.models import Group, Job

LARGEST_BODY = 2**20
"""Bytes of a request to schedule a job."""

LONGEST_ERROR = 1000
"""Characters of what an answer says is wrong."""

KEYS = ("function", "args", "kwargs", "run_after", "meta", "priority", "group", "queue")
"""What a request to schedule a job may have: the keywords of ``schedule()``."""

VIEW, ADD = "async.view_job", "async.add_job"

View = Callable[..., HttpResponse]


class Refused(Exception):
    """The request gets this answer instead."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.answer = _answer({"error": message[:LONGEST_ERROR]}, status)
        for name, value in headers.items():
            self.answer[name.replace("_", "-")] = value


def endpoint(*methods: str) -> Callable[[View], View]:
    """For a view: answers these methods only, keeps caches away, and turns Refused into JSON.

    CSRF is checked where something is changed, by ``_check_csrf()``, which answers in JSON.
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @never_cache
        @wraps(view)
        def wrapped(request: HttpRequest, **parameters: Any) -> HttpResponse:
            try:
                if request.method not in methods:
                    allowed = ", ".join(methods)
                    raise Refused(405, f"{request.method} is none of {allowed}.", Allow=allowed)
                return view(request, **parameters)
            except Refused as refused:
                return refused.answer

        return wrapped

    return decorate


@non_atomic_requests
@endpoint("GET", "HEAD")
def live(request: HttpRequest) -> HttpResponse:
    """Whether this process and the queue's database answer: for anybody, and without data."""
    try:
        with connections[home.of_queue()].cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        raise Refused(503, "The database does not answer.") from error
    return _answer({"status": "ok"})


@endpoint("GET", "HEAD")
def health(request: HttpRequest) -> HttpResponse:
    """What ``health()`` says."""
    _check_reader(request)
    return _answer(read_health())


@endpoint("GET", "HEAD")
def group_progress(request: HttpRequest, reference: str) -> HttpResponse:
    """How far the latest group of this reference has come."""
    _check_reader(request)
    groups = Group.objects.using(home.of_queue())
    group = groups.filter(reference=reference).order_by("created", "id").last()
    if group is None:
        raise Refused(404, "No group has this reference.")
    return _answer({"progress": progress.of(group)})


@endpoint("POST")
def schedule(request: HttpRequest) -> HttpResponse:
    """Schedule a job that people may schedule, as a user who may add jobs."""
    _check_user(request, ADD)
    _check_body(request)
    _check_csrf(request)
    job = _schedule(_read(request))
    return _answer({"job": {"id": job.pk}}, 201)


@endpoint("GET", "HEAD")
def metrics(request: HttpRequest) -> HttpResponse:
    """The queue for Prometheus, of all parents together, as the database knows it."""
    _check_reader(request)
    if find_spec("prometheus_client") is None:
        raise Refused(501, "It needs prometheus-client: pip install 'django-async[prometheus]'.")
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    from django_async.gauges import QueueCollector

    registry = CollectorRegistry()
    registry.register(QueueCollector(home.of_queue()))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _answer(data: Mapping[str, Any], status: int = 200) -> JsonResponse:
    return JsonResponse(data, status=status, headers={"X-Content-Type-Options": "nosniff"})


def _check_reader(request: HttpRequest) -> None:
    """Raise unless it sends the token, or is a user who may see jobs."""
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        token = conf.current().http_token
        if token is None or not constant_time_compare(sent.strip(), token):
            raise _nobody("The token is wrong.")
        return
    _check_user(request, VIEW)


def _check_user(request: HttpRequest, permission: str) -> None:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        raise _nobody("Log in, or send a token.")
    if not user.has_perm(permission):
        raise Refused(403, f"It takes the permission {permission}.")


def _nobody(message: str) -> Refused:
    return Refused(401, message, WWW_Authenticate='Bearer realm="django-async"')


class _Csrf(CsrfViewMiddleware):
    """Django's own check, whose refusal is JSON."""

    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        return Refused(403, f"CSRF: {reason}").answer


def _check_csrf(request: HttpRequest) -> None:
    """As Django's middleware does it, whether the project has that or not."""
    check = _Csrf(lambda _: HttpResponse())
    check.process_request(request)
    if check.process_view(request, None, (), {}) is not None:  # type: ignore[arg-type]
        raise Refused(403, "CSRF: the token is missing or wrong (header X-CSRFToken).")


def _check_body(request: HttpRequest) -> None:
    """Raise for what is not read at all."""
    if request.content_type != "application/json":
        raise Refused(415, "Send application/json.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > LARGEST_BODY:
        raise _too_large()


def _read(request: HttpRequest) -> dict[str, Any]:
    """The JSON of the body."""
    try:
        body = request.body
    except RequestDataTooBig as error:  # the project allows less
        raise _too_large() from error
    if len(body) > LARGEST_BODY:
        raise _too_large()
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused(400, "The body must be a JSON object.")
    return found


def _too_large() -> Refused:
    limit = min(LARGEST_BODY, settings.DATA_UPLOAD_MAX_MEMORY_SIZE or LARGEST_BODY)
    return Refused(413, f"The body may have {limit} bytes.")


def _schedule(found: dict[str, Any]) -> Job:
    if unknown := sorted(set(found) - set(KEYS)):
        raise Refused(400, f"Unknown: {unknown!r:.200}; known are {', '.join(KEYS)}.")
    if not isinstance(function := found.pop("function", None), str):
        raise Refused(400, "function must be the dotted path of a function.")
    try:
        found["run_after"] = _moment(found.get("run_after"))
        return schedule_by_hand(function, **found)
    except ValidationError as error:
        raise Refused(409, " ".join(error.messages)) from error
    except (TypeError, ValueError) as error:
        raise Refused(400, str(error)) from error


def _moment(value: Any) -> datetime | timedelta | None:
    """From seconds from now, or an ISO 8601 moment. Raises ValueError or TypeError."""
    if value is None:
        return None
    if isinstance(value, str):
        if (found := parse_datetime(value)) is None:
            raise ValueError(f"run_after is no ISO 8601 moment: {value!r:.80}")
        return found
    if not conf.is_seconds(value):
        raise TypeError("run_after must be seconds from now, or an ISO 8601 moment.")
    try:
        return timedelta(seconds=value)
    except OverflowError as error:
        raise ValueError("run_after is beyond the calendar.") from error
