"""Traces: a job is a span in the trace of the request that scheduled it, in whichever process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from django_async import schedule, tracing
from django_async.api import deschedule, schedule_many
from django_async.models import Job
from suite import abuse, calls, interrupted, jobs
from suite.attempts import WAYS, attempt
from suite.processes import manage
from suite.together import DEADLINE

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]

both_kinds = pytest.mark.parametrize("atomic", [True, False])


class FileExporter(SpanExporter):
    """Appends each span to a file, a line each: forked workers write to the same one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def export(self, spans: Any) -> SpanExportResult:
        with self.path.open("a") as file:
            file.writelines(json.dumps(as_dict(span)) + "\n" for span in spans)
        return SpanExportResult.SUCCESS

    def read(self) -> list[dict[str, Any]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [json.loads(line) for line in lines]


def as_dict(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    assert context
    return {
        "name": span.name,
        "trace": context.trace_id,
        "span": context.span_id,
        "parent": span.parent and span.parent.span_id,
        "links": [[link.context.trace_id, link.context.span_id] for link in span.links],
        "kind": span.kind.name,
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
        "exceptions": [
            (event.attributes or {})["exception.type"]
            for event in span.events
            if event.name == "exception"
        ],
    }


@pytest.fixture
def spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileExporter]:
    """The SDK, set up for this test alone."""
    exporter = FileExporter(tmp_path / "spans")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def request() -> Any:
    """The span of whoever schedules."""
    return trace.get_tracer("tests").start_as_current_span("request")


def identifiers() -> tuple[int, int]:
    """Those of the current span."""
    context = trace.get_current_span().get_span_context()
    return context.trace_id, context.span_id


def of_jobs(spans: FileExporter) -> list[dict[str, Any]]:
    return [span for span in spans.read() if span["kind"] == SpanKind.CONSUMER.name]


@pytest.mark.parametrize("way", WAYS)
@both_kinds
def test_a_job_runs_in_the_trace_of_the_request_that_scheduled_it(
    spans: FileExporter, flush: Flush, way: str, atomic: bool
) -> None:
    with request():
        wanted = identifiers()
        job = schedule(jobs.note, queue="urgent", meta={"atomic": atomic})
    attempt(job, way, flush)
    [span] = of_jobs(spans)
    assert (span["trace"], span["parent"]) == wanted
    assert span["name"] == "process suite.jobs.note"
    assert span["status"] == StatusCode.UNSET.name
    assert span["attributes"] == {
        "messaging.system": "django_async",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "urgent",
        "messaging.message.id": str(job.id),
        "django_async.job.name": "suite.jobs.note",
        "django_async.job.attempt": 1,
        "django_async.job.outcome": "executed",
        "django_async.database": "default",
    }


def test_each_of_many_jobs_runs_in_the_trace_of_the_request(
    spans: FileExporter, flush: Flush
) -> None:
    with request():
        wanted = identifiers()
        schedule_many([{"function": jobs.note}, {"function": jobs.note, "meta": {"timeout": 9}}])
    flush(workers=1)
    found = of_jobs(spans)
    assert [(span["trace"], span["parent"]) for span in found] == [wanted] * 2
    assert len({span["span"] for span in found}) == 2
    assert json.loads(Job.objects.latest("id").meta)["timeout"] == 9


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("function", [jobs.parent, calls.schedules_asynchronously])
def test_what_a_job_schedules_has_a_trace_of_its_own_that_is_linked_to_its_span(
    spans: FileExporter, flush: Flush, workers: int, function: Any
) -> None:
    with request():
        schedule(function)
    flush(workers=workers)
    flush(workers=workers)
    parent, child = of_jobs(spans)
    assert (child["parent"], parent["links"]) == (None, [])
    assert child["trace"] != parent["trace"]
    assert child["links"] == [[parent["trace"], parent["span"]]]


def test_a_job_that_goes_on_scheduling_itself_leaves_no_trace_without_end(
    spans: FileExporter, flush: Flush
) -> None:
    with request():
        wanted = identifiers()
        schedule(calls.schedules_itself, [3])
    for _ in range(4):
        flush()
    first, *others = of_jobs(spans)
    assert (first["trace"], first["parent"]) == wanted
    assert len({span["trace"] for span in (first, *others)}) == 4
    for before, after in pairwise((first, *others)):
        assert after["links"] == [[before["trace"], before["span"]]]


def test_a_job_may_keep_what_it_schedules_in_its_trace(spans: FileExporter, flush: Flush) -> None:
    own = f"00-{'a' * 32}-{'b' * 16}-01"
    schedule(calls.schedules_many_in_its_trace, [own])
    for _ in range(2):
        flush()
    parent, linked, kept = of_jobs(spans)
    assert linked["links"] == [[parent["trace"], parent["span"]]]
    assert (kept["trace"], kept["parent"]) == (int("a" * 32, 16), int("b" * 16, 16))
    assert kept["links"] == []


def test_the_identity_of_a_call_does_not_depend_on_its_trace(spans: FileExporter) -> None:
    with request():
        traced = schedule(jobs.note, ["the same"])
    assert "traceparent" in traced.meta
    assert traced.identity == schedule(jobs.note, ["the same"]).identity
    assert deschedule(jobs.note, ["the same"]) == 2


def test_a_trace_that_the_caller_gives_stays(spans: FileExporter) -> None:
    own = f"00-{'a' * 32}-{'b' * 16}-01"
    with request():
        job = schedule(jobs.note, meta={"traceparent": own})
    assert json.loads(job.meta) == {"traceparent": own}
    job.execute()
    [span] = of_jobs(spans)
    assert (span["trace"], span["parent"]) == (int("a" * 32, 16), int("b" * 16, 16))


def test_without_a_span_nothing_is_kept_and_a_job_is_the_root_of_its_trace(
    spans: FileExporter, flush: Flush
) -> None:
    job = schedule(jobs.note)
    assert job.meta == "{}"
    flush()
    [span] = of_jobs(spans)
    assert span["parent"] is None


@pytest.mark.parametrize("meta", [[], "traceparent", 3])
def test_a_wrong_meta_is_refused_inside_a_span_too(spans: FileExporter, meta: Any) -> None:
    with request(), pytest.raises(TypeError, match="meta must be a dict"):
        schedule(jobs.note, meta=meta)


@pytest.mark.parametrize("broken", ["no trace", 7, None, ["00"]])
def test_a_broken_trace_harms_no_job(spans: FileExporter, flush: Flush, broken: Any) -> None:
    job = schedule(jobs.note, meta={"traceparent": broken, "tracelink": broken})
    flush()
    [span] = of_jobs(spans)
    assert (span["parent"], span["links"]) == (None, [])
    assert tracing._named(broken) is None  # and would be no link, whatever the SDK makes of that
    assert Job.objects.get(pk=job.pk).state == "executed"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("function", "error", "atomic"),
    [
        (jobs.fail, "ValueError", True),
        (abuse.break_foreign_key, "IntegrityError", True),
        (jobs.fail, "ValueError", False),
    ],
    ids=["its function", "its commit", "detached"],
)
def test_the_exception_of_a_failed_job_is_recorded(
    spans: FileExporter, flush: Flush, way: str, function: Any, error: str, atomic: bool
) -> None:
    attempt(schedule(function, meta={"atomic": atomic}), way, flush)
    [span] = of_jobs(spans)
    assert span["status"] == StatusCode.ERROR.name
    assert [kind.rpartition(".")[2] for kind in span["exceptions"]] == [error]
    assert span["attributes"]["error.type"] == error
    assert span["attributes"]["django_async.job.outcome"] == "failed"


@both_kinds
def test_a_job_that_was_cancelled_while_it_ran_says_so_in_its_span(
    spans: FileExporter, flush: Flush, atomic: bool
) -> None:
    schedule(interrupted.interrupt, meta={"atomic": atomic})
    flush()
    [span] = of_jobs(spans)
    assert span["status"] == StatusCode.ERROR.name
    assert span["attributes"]["django_async.job.outcome"] == "cancelled"


@pytest.mark.skipif(connection.vendor == "sqlite", reason="jobs on SQLite meet nobody")
def test_a_run_that_met_another_transaction_has_a_span_of_its_own(
    spans: FileExporter, flush: Flush, tmp_path: Path
) -> None:
    code = "40001" if connection.vendor == "postgresql" else "1213"
    schedule(abuse.conflict, [code, str(tmp_path), 1])
    flush()
    ends = [span["attributes"]["django_async.job.outcome"] for span in of_jobs(spans)]
    assert ends == ["conflict", "executed"]


def test_a_jobs_span_is_not_left_for_the_next_one(spans: FileExporter, flush: Flush) -> None:
    with request():
        schedule(jobs.fail, priority=9)
    schedule(jobs.note)
    flush(keep_going=True)
    first, second = of_jobs(spans)
    assert second["parent"] is None
    assert second["trace"] != first["trace"]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_tracer_that_raises_harms_no_job(
    flush: Flush, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(TracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no tracer")

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", Broken())
    job = schedule(jobs.note)
    assert flush().status == 0
    assert Job.objects.get(pk=job.pk).state == "executed"
    assert "runs without a span" in caplog.text


def test_a_worker_that_ends_sends_the_spans_that_it_still_has(
    spans: FileExporter, flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its threads that would send them later end with it, and no exit handler runs in it."""
    from django_async import signals

    def set_up(**_: Any) -> None:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider()
        patient = BatchSpanProcessor(spans, schedule_delay_millis=DEADLINE * 1000)
        provider.add_span_processor(patient)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    signals.worker_started.connect(set_up)
    try:
        schedule(jobs.note)
        flush(workers=1)
    finally:
        signals.worker_started.disconnect(set_up)
    assert [span["name"] for span in of_jobs(spans)] == ["process suite.jobs.note"]


def test_a_worker_that_has_not_loaded_the_library_yet_makes_the_link(
    spans: FileExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = schedule(jobs.note, meta={"tracelink": f"00-{'a' * 32}-{'b' * 16}-01"})
    monkeypatch.setattr(tracing, "_is_in_use", lambda: False)
    job.execute()
    [span] = of_jobs(spans)
    assert span["links"] == [[int("a" * 32, 16), int("b" * 16, 16)]]


def test_a_process_that_traces_nothing_does_not_load_the_library() -> None:
    job = schedule(calls.has_loaded, ["opentelemetry.trace"])
    with manage("flush_queue") as process:
        _, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, Job.objects.get(pk=job.pk).result) == (0, "false"), errors


def test_where_the_library_is_absent_a_job_with_a_trace_runs_all_the_same(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = schedule(jobs.note, meta={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    for module in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    tracing._is_installed.cache_clear()
    try:
        assert not tracing._is_installed()
        assert flush().status == 0
    finally:
        tracing._is_installed.cache_clear()
    assert Job.objects.get(pk=job.pk).state == "executed"
