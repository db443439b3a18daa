"""The queue's own statements, each beside the bare thing that it cannot be cheaper than.

How many statements each takes is pinned by the test-suite; here is what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from benchmarks import jobs
from benchmarks.models import Line, Ticket
from django_async import roundtrips, schedule, store
from django_async.api import schedule_many
from django_async.fetch import Fetch, Selection
from django_async.hints import Hint
from django_async.models import Job
from django_async.outcomes import Failure
from django_async.runner import run_job

MANY = 10_000
ROUNDS = 10
WAITING = 5_000

Benchmark = Callable[..., object]

pytestmark = pytest.mark.django_db(transaction=True)


def enqueue(count: int) -> None:
    schedule_many({"function": jobs.run_inside, "args": ["W1"]} for _ in range(count))


@pytest.fixture
def hints() -> Iterator[Hint]:
    """Due jobs, one after the other."""
    enqueue(WAITING)
    return iter(Fetch("default", None, Selection()).page(None, WAITING))


@pytest.fixture
def tally(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHMARK_TALLY", str(tmp_path))


def columns(job: Job) -> dict[str, Any]:
    fields = (field for field in Job._meta.concrete_fields if not field.primary_key)
    return {field.attname: getattr(job, field.attname) for field in fields}


def timed(benchmark: Benchmark, work: Callable[[], object], rounds: int = 500) -> None:
    benchmark.pedantic(work, rounds=rounds, warmup_rounds=min(rounds, 20))  # type: ignore[attr-defined]


@pytest.mark.benchmark(group="one job into the queue")
def test_schedule(benchmark: Benchmark) -> None:
    timed(benchmark, lambda: schedule(jobs.run_inside, ["W1"]))


@pytest.mark.benchmark(group="one job into the queue")
def test_bare_insert_of_the_same_row(benchmark: Benchmark) -> None:
    values = columns(schedule(jobs.run_inside, ["W1"]))
    timed(benchmark, lambda: Job.objects.create(**values))


@pytest.mark.benchmark(group=f"{MANY} jobs into the queue")
def test_schedule_many(benchmark: Benchmark) -> None:
    timed(benchmark, lambda: enqueue(MANY), ROUNDS)


@pytest.mark.benchmark(group=f"{MANY} jobs into the queue")
def test_bulk_create_of_the_same_rows(benchmark: Benchmark) -> None:
    enqueue(1)
    values = columns(Job.objects.get())
    timed(benchmark, lambda: Job.objects.bulk_create([Job(**values) for _ in range(MANY)]), ROUNDS)


@pytest.mark.benchmark(group="one job")
@pytest.mark.usefixtures("tally")
def test_run_job(benchmark: Benchmark, hints: Iterator[Hint]) -> None:
    timed(benchmark, lambda: run_job(next(hints), "default"))
    assert Line.objects.exists()


@pytest.mark.benchmark(group="one job")
@pytest.mark.usefixtures("tally")
def test_the_same_without_a_queue(benchmark: Benchmark) -> None:
    Ticket.objects.bulk_create(Ticket() for _ in range(100))
    tickets = cycle(Ticket.objects.values_list("pk", flat=True))

    def work() -> None:
        with transaction.atomic():
            jobs.run_inside("W1")
            Ticket.objects.filter(pk=next(tickets)).update(done=timezone.now())

    timed(benchmark, work)


@pytest.mark.benchmark(group="parts of an attempt")
def test_claim(benchmark: Benchmark, hints: Iterator[Hint]) -> None:
    with transaction.atomic():
        timed(benchmark, lambda: store.claim(next(hints), connection))


@pytest.mark.benchmark(group="parts of an attempt")
def test_claim_and_mark(benchmark: Benchmark, hints: Iterator[Hint]) -> None:
    def work() -> None:
        claimed = store.claim(next(hints), connection)
        assert claimed
        form = roundtrips.OneByOne(connection)
        store.mark_executed(claimed, "null", connection, form.last)

    with transaction.atomic():
        timed(benchmark, work)


@pytest.mark.benchmark(group="parts of an attempt")
def test_claim_and_record_a_failure(benchmark: Benchmark, hints: Iterator[Hint]) -> None:
    def work() -> None:
        claimed = store.claim(next(hints), connection)
        assert claimed
        store.record(claimed, Failure("Error()", "Traceback"), "default")

    with transaction.atomic():
        timed(benchmark, work)


@pytest.mark.benchmark(group="a page of 64 hints")
def test_fetch(benchmark: Benchmark) -> None:
    enqueue(WAITING)
    timed(benchmark, lambda: Fetch("default", None, Selection()).page(None, 64), 300)
