"""The trace of the request that scheduled a job goes with it, and the job is a span of that trace.

It goes in the job's ``meta``, as the W3C's ``traceparent`` (and ``tracestate``, if there is one).
What a job schedules begins a trace of its own, which has a link to that job's span: a job that
schedules its next run, or two that schedule each other, would carry one trace on for ever.

A process that does not use OpenTelemetry does not import it, unless a job brings a trace along.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import multiprocess.util

from django_async import current, policy
from django_async.locks import Claimed
from django_async.outcomes import End, Executed, Failed, Outcome, Undecided, word

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

logger = logging.getLogger(__name__)

KEYS = ("traceparent", "tracestate")
"""Of ``meta``: the span's parent."""

LINK = "tracelink"
"""Of ``meta``: what the span is linked to, in the form of a ``traceparent``."""

FLUSH_MILLISECONDS = 1000
"""What a worker that ends has to send its last spans."""


def carry(meta: Any) -> Any:
    """The options of a job that is being scheduled, and the current span's context, if there is a
    span: as its parent, or, within a job, as what it is linked to. A parent that the caller gives
    stays alone."""
    if not _is_in_use() or not (meta is None or isinstance(meta, Mapping)):
        return meta
    context: dict[str, str] = {}
    _propagator().inject(context)
    if not context or KEYS[0] in (meta or {}):
        return meta
    if current.current_job():
        context = {LINK: context[KEYS[0]]}
    return {**context, **(meta or {})}


def begin(claimed: Claimed, using: str) -> Span | None:
    """The span of an attempt, not yet the current one; None without OpenTelemetry."""
    brings_trace = any(f'"{key}"' in claimed.meta for key in (KEYS[0], LINK))
    if not (_is_in_use() or (brings_trace and _is_installed())):
        return None
    try:
        return _start(claimed, using)
    except Exception:
        logger.warning("Job %s runs without a span.", claimed.id, exc_info=True)
        return None


def within(span: Span | None) -> AbstractContextManager[object]:
    """In this block the span is the current one."""
    if span is None:
        return nullcontext()
    from opentelemetry import trace

    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def end(span: Span | None, outcome: Outcome, error: BaseException | None) -> None:
    """Say how the attempt ended."""
    if span is None:
        return
    try:
        _tell(span, outcome, error)
    except Exception:
        logger.warning("The span of job %s was lost.", outcome.hint.id, exc_info=True)


def flush_at_exit() -> None:
    """In a worker: send what is left when it ends. It runs no exit handler of its parent's."""
    multiprocess.util.Finalize(None, _flush, exitpriority=0)


def _start(claimed: Claimed, using: str) -> Span:
    from opentelemetry import context as contexts
    from opentelemetry import trace

    found = policy.options(claimed.meta)
    carried = {key: value for key in KEYS if isinstance(value := found.get(key), str)}
    linked = _named(found.get(LINK))
    return trace.get_tracer("django_async").start_span(
        f"process {claimed.name}",
        context=_propagator().extract(carried, contexts.get_current()),
        kind=trace.SpanKind.CONSUMER,
        links=[trace.Link(linked)] if linked else None,
        attributes={
            "messaging.system": "django_async",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": claimed.queue,
            "messaging.message.id": str(claimed.id),
            "django_async.job.name": claimed.name,
            "django_async.job.attempt": claimed.attempts + 1,
            "django_async.database": using,
        },
    )


def _named(text: object) -> SpanContext | None:
    """The span that is named as a ``traceparent`` does it; None for what names none."""
    from opentelemetry import context as contexts
    from opentelemetry import trace

    if not isinstance(text, str):
        return None
    found = _propagator().extract({KEYS[0]: text}, contexts.Context())
    span = trace.get_current_span(found).get_span_context()
    return span if span.is_valid else None


def _tell(span: Span, outcome: Outcome, error: BaseException | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    known = word(outcome) if isinstance(outcome, End) else type(outcome).__name__.lower()
    span.set_attribute("django_async.job.outcome", known)
    if not isinstance(outcome, Executed):
        span.set_attribute("error.type", type(error).__qualname__ if error else "_OTHER")
        if error is not None:
            span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, _reason(outcome)))
    span.end()


def _reason(outcome: Outcome) -> str:
    if isinstance(outcome, Failed | Undecided):
        return outcome.failure.exception
    return type(outcome).__name__


def _flush() -> None:
    if not _is_in_use():
        return
    from opentelemetry import trace

    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    try:
        if flush is not None:
            flush(FLUSH_MILLISECONDS)
    except Exception:
        logger.warning("A worker's last spans were lost.", exc_info=True)


def _is_in_use() -> bool:
    """Without it being imported there can be neither a span nor anybody who receives one."""
    return sys.modules.get("opentelemetry.trace") is not None


@cache
def _is_installed() -> bool:
    try:
        import opentelemetry.trace
    except ImportError:
        return False
    return opentelemetry.trace is not None


@cache
def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()
