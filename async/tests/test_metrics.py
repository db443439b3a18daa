"""``flush_queue --metrics``: right figures for Prometheus, at no risk for the queue."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections
from prometheus_client.parser import text_string_to_metric_families

from django_async import backlog, clock, forking, metrics, schedule
from django_async.api import schedule_many
from django_async.exporter import Address
from django_async.figures import MOST_QUEUES, OTHERS, Figures
from django_async.hints import Hint
from django_async.management.commands.flush_queue import Command
from django_async.models import Job
from django_async.outcomes import Executed
from suite import abuse, calls, interrupted, jobs
from suite.attempts import notes
from suite.processes import manage
from suite.together import DEADLINE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
on_both = pytest.mark.django_db(transaction=True, databases=["default", "other"])

Flush = Callable[..., Any]
Samples = dict[tuple[str, ...], float]

ANY = Address("127.0.0.1", 0)
"""A free port."""


def scrape(address: Address) -> Samples:
    """What Prometheus would get: name and labels, sorted by their own names, to value."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=DEADLINE) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def at_the_end(monkeypatch: pytest.MonkeyPatch) -> Samples:
    """What Prometheus would get last, before the exporter is ended."""
    last: Samples = {}
    close = metrics.Prometheus.close

    def scrape_and_close(shown: metrics.Prometheus) -> None:
        last.update(scrape(shown.address))
        close(shown)

    monkeypatch.setattr(metrics.Prometheus, "close", scrape_and_close)
    return last


@pytest.fixture
def shown() -> Iterator[metrics.Prometheus]:
    """An exporter without a queue."""
    shown = metrics.Prometheus(ANY, ["default"], clock=iter(range(10**9)).__next__)
    yield shown
    shown.close()


def executed(queue: str = "default", waited: float = 0.02, seconds: float = 0.3) -> Executed:
    hint = Hint(id=1, attempts=0, priority=5, scheduled=None, group=None)
    return Executed(hint, "job()", seconds, name="job", queue=queue, waited=waited)


def outcomes(samples: Samples, queue: str = "default") -> dict[str, float]:
    ends = ("executed", "failed", "discarded")
    return {end: samples["django_async_jobs_total", end, queue] for end in ends}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_figures_of_a_drained_queue_are_right(
    flush: Flush, at_the_end: Samples, workers: int
) -> None:
    schedule_many([{"function": jobs.note, "queue": "urgent"}] * 5)
    schedule_many([{"function": jobs.note}] * 3)
    schedule(jobs.fail)
    schedule(jobs.fail, meta={"max_attempts": 1})
    schedule(interrupted.interrupt, queue="late")
    schedule(jobs.note, run_after=timedelta(seconds=-100), queue="late")
    flush(workers=workers, keep_going=True, metrics=ANY)
    assert outcomes(at_the_end, "urgent") == {"executed": 5, "failed": 0, "discarded": 0}
    assert outcomes(at_the_end) == {"executed": 3, "failed": 1, "discarded": 1}
    assert at_the_end["django_async_jobs_total", "cancelled", "late"] == 1
    for name in ("wait", "run"):
        histogram = f"django_async_job_{name}_seconds"
        assert at_the_end[f"{histogram}_count", "default"] == 5
        assert at_the_end[f"{histogram}_bucket", "3600.0", "default"] == 5
        assert at_the_end[f"{histogram}_sum", "default"] > 0
    assert at_the_end["django_async_job_wait_seconds_bucket", "60.0", "late"] == 1
    assert at_the_end["django_async_job_wait_seconds_bucket", "300.0", "late"] == 2
    assert 100 <= at_the_end["django_async_job_wait_seconds_sum", "late"] < 130
    assert at_the_end["django_async_workers",] == max(workers, 1)
    assert at_the_end["django_async_workers_busy",] == 0
    assert at_the_end["django_async_due_jobs", "default"] == 0


def test_the_counts_survive_the_replacement_of_workers(flush: Flush, at_the_end: Samples) -> None:
    schedule_many([{"function": jobs.note}] * 6)
    schedule(jobs.die, priority=9)
    schedule(jobs.leave, priority=9, meta={"max_attempts": 1})
    flush(workers=2, keep_going=True, max_jobs_per_worker=1, metrics=ANY)
    found = outcomes(at_the_end)
    assert (found["executed"], found["discarded"], found["failed"] >= 1) == (6, 1, True)
    assert found["failed"] == Job.objects.get(name="suite.jobs.die").errors.count()


def test_a_running_job_makes_its_worker_busy(
    flush: Flush, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Samples] = []
    tick = metrics.Prometheus.tick

    def look(shown: metrics.Prometheus) -> None:
        tick(shown)
        samples = scrape(shown.address) if not seen else {}
        if samples.get(("django_async_jobs_total", "executed", "default")) == 1:
            seen.append(samples)
            abuse.touch(str(tmp_path / "go"))

    monkeypatch.setattr(metrics.Prometheus, "tick", look)
    schedule(jobs.nothing, priority=9)
    schedule(abuse.wait_for, [str(tmp_path / "go")])
    schedule(jobs.nothing, priority=1)
    flush(workers=1, metrics=ANY)
    [samples] = seen
    assert samples["django_async_workers_busy",] == samples["django_async_workers",] == 1
    assert samples["django_async_due_jobs", "default"] == 2


def test_in_this_process_a_running_job_makes_the_one_worker_busy(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter answers while the parent is in a job."""
    seen: list[Samples] = []

    def run(hint: Hint, *_: Any) -> Executed:
        seen.append(scrape(addresses[0]))
        Job.objects.filter(pk=hint.id).update(executed=clock.now("default"))
        return executed()

    addresses: list[Address] = []
    set_busy = metrics.Prometheus.set_busy

    def note_address(shown: metrics.Prometheus, busy: int, total: int) -> None:
        addresses[:] = [shown.address]
        set_busy(shown, busy, total)

    monkeypatch.setattr(metrics.Prometheus, "set_busy", note_address)
    monkeypatch.setattr("django_async.runner.run_job", run)
    schedule(jobs.nothing)
    flush(metrics=ANY)
    [samples] = seen
    assert samples["django_async_workers_busy",] == samples["django_async_workers",] == 1
    assert samples["django_async_due_jobs", "default"] == 1


def test_the_backlog_and_its_age_are_the_databases(shown: metrics.Prometheus) -> None:
    schedule(jobs.note, run_after=timedelta(hours=1))
    assert scrape(shown.address)["django_async_oldest_due_age_seconds", "default"] == 0
    schedule(jobs.note, run_after=timedelta(seconds=-90))
    schedule(jobs.note)
    samples = scrape(shown.address)
    assert samples["django_async_due_jobs", "default"] == 2
    assert 90 <= samples["django_async_oldest_due_age_seconds", "default"] < 120


def test_figures_are_shown_while_the_database_is_away_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr("django_async.backlog.read", fail)
    shown = metrics.Prometheus(ANY, ["default"])
    try:
        shown.ended(executed())
        samples = scrape(shown.address)
    finally:
        shown.close()
    assert outcomes(samples)["executed"] == 1
    assert not any(name[0] == "django_async_due_jobs" for name in samples)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """In place of the other database's server, one that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setitem(connections["other"].settings_dict, "HOST", "127.0.0.1")
        monkeypatch.setitem(connections["other"].settings_dict, "PORT", server.getsockname()[1])
        yield server


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")
@on_both
def test_a_silent_server_keeps_nobody_from_the_backlog_of_the_others(
    silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the scrapes that come meanwhile ask it nothing more."""
    monkeypatch.setattr("django_async.exporter.DATABASE_PATIENCE", 0.5)
    schedule(jobs.note)
    with exporting(["other", "default"]) as address:
        for _ in range(2):
            samples = scrape_until_there_is("default", address)
            assert ("django_async_due_jobs", "other") not in samples
        asked, _ = silent.accept()
        with asked:
            assert not has_been_given_up(asked)
        assert not is_asked(silent)
    assert samples["django_async_due_jobs", "default"] == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")
@on_both
def test_a_silent_server_is_given_up_and_asked_again(
    silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_async.readings.PATIENCE", 1.0)
    monkeypatch.setattr("django_async.sessions._CLIENTS_WATCH", {"connect_timeout": 1})
    monkeypatch.setattr("django_async.exporter.DATABASE_PATIENCE", 0.5)
    with exporting(["other", "default"]) as address:
        scrape(address)
        first, _ = silent.accept()
        with first:
            wait_until(lambda: scrape(address) and is_asked(silent), "another question")


@on_both
def test_a_database_that_is_slow_is_left_out_and_asked_again_after_its_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read, asked = backlog.read, tmp_path / "asked"

    def read_slowly(using: str) -> Any:
        if using == "other":
            with asked.open("a") as file:
                file.write("once ")
            abuse.wait_for(str(tmp_path / "go"))
        return read(using)

    monkeypatch.setattr("django_async.backlog.read", read_slowly)
    monkeypatch.setattr("django_async.exporter.DATABASE_PATIENCE", 0.5)
    schedule(jobs.note, using="other")
    with exporting(["other", "default"]) as address:
        for _ in range(2):
            samples = scrape_until_there_is("default", address)
            assert ("django_async_due_jobs", "other") not in samples
        assert asked.read_text() == "once "
        abuse.touch(str(tmp_path / "go"))
        samples = scrape_until_there_is("other", address)
    assert samples["django_async_due_jobs", "other"] == 1


def test_as_many_may_ask_however_many_databases_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their threads are not taken for scrapers'."""

    def is_answered() -> bool:
        try:
            return bool(scrape(address))
        except OSError:  # the scraper before has not quite gone
            return False

    monkeypatch.setattr("django_async.exporter.MOST_AT_ONCE", 1)
    with exporting(["default"]) as address:
        for _ in range(2):
            wait_until(is_answered, "an answer")


@contextmanager
def exporting(databases: list[str]) -> Iterator[Address]:
    """Where an exporter of these databases answers, without a queue."""
    shown = metrics.Prometheus(ANY, databases)
    try:
        yield shown.address
    finally:
        shown.close()


def has_been_given_up(asked: socket.socket) -> bool:
    """Whether the client has closed the connection."""
    try:
        while asked.recv(1024, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    return True


def is_asked(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def scrape_until_there_is(alias: str, address: Address) -> Samples:
    """The first answer that has the backlog of this database."""
    answers: list[Samples] = []

    def is_told() -> bool:
        answers.append(scrape(address))
        return ("django_async_due_jobs", alias) in answers[-1]

    wait_until(is_told, f"the backlog of {alias}")
    return answers[-1]


def test_a_scraper_that_connects_and_says_nothing_delays_neither_queue_nor_others(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent: list[socket.socket] = []
    samples: Samples = {}
    close = metrics.Prometheus.close

    def connect(shown: metrics.Prometheus, busy: int, total: int) -> None:
        if len(silent) < 5:
            silent.append(socket.create_connection(shown.address, timeout=DEADLINE))

    def scrape_and_close(shown: metrics.Prometheus) -> None:
        samples.update(scrape(shown.address))
        for one in silent:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):  # neither answered nor closed
                one.recv(1)
            one.close()
        close(shown)

    monkeypatch.setattr(metrics.Prometheus, "set_busy", connect)
    monkeypatch.setattr(metrics.Prometheus, "close", scrape_and_close)
    schedule_many([{"function": jobs.note}] * 5)
    flush(workers=2, metrics=ANY)
    assert len(silent) == 5
    assert outcomes(samples)["executed"] == len(notes()) == 5


def test_with_metrics_the_parent_has_one_thread_whenever_it_forks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a fork beside threads would be a warning, which is an error in these tests."""
    from django_async import exporter
    from django_async.management.commands import flush_queue

    threads: list[int] = []

    def count_threads(needed: Collection[str] = ()) -> None:
        forking.set_aside(needed)
        threads.append(len(list(Path("/proc/self/task").iterdir())))

    monkeypatch.setattr(flush_queue, "set_aside", count_threads)
    monkeypatch.setattr(exporter, "close_connections", count_threads)
    schedule_many([{"function": jobs.note}] * 5)
    call_command("flush_queue", workers=2, max_jobs_per_worker=1, metrics=ANY, stdout=io.StringIO())
    assert len(threads) >= 6
    assert set(threads) == {1}


def test_the_exporter_that_dies_is_replaced_and_the_counts_survive(
    shown: metrics.Prometheus, caplog: pytest.LogCaptureFixture
) -> None:
    pool: Any = shown._exporter._pool

    def is_replaced() -> bool:
        shown.tick()
        return shown.pids not in ([pid], []) and pool.busy == 1

    shown.ended(executed())
    scrape(shown.address)  # it serves: one that has not begun to would be replaced without a word
    [pid] = shown.pids
    os.kill(pid, signal.SIGKILL)
    wait_until(is_replaced, "the exporter's replacement")
    shown.ended(executed())
    assert outcomes(scrape(shown.address))["executed"] == 2
    assert "killed by SIGKILL" in caplog.text


def test_the_exporter_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path) -> None:
    schedule(abuse.wait_for, [str(tmp_path / "never")])
    with manage("flush_queue", "--workers=1", "--metrics=0") as process:
        assert process.stdout
        port = int(process.stdout.readline().rstrip().removesuffix("/metrics").rpartition(":")[2])
        assert scrape(Address("127.0.0.1", port))["django_async_workers",] >= 0
        process.kill()
        process.wait(DEADLINE)
        wait_until(lambda: not answers(port), "the exporter's end")
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody has kept the port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE).close()
    except OSError:
        return False
    return True


def test_a_worker_does_not_hold_the_port(flush: Flush) -> None:
    """What a job leaves behind would keep it from the next parent."""
    job = schedule(calls.listening_sockets)
    flush(workers=1, metrics=ANY)
    assert Job.objects.get(pk=job.pk).result == "0"


def test_a_port_that_is_taken_is_an_error_before_any_job_runs(flush: Flush) -> None:
    schedule(jobs.note)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flushed = flush(metrics=Address("127.0.0.1", port))
    assert flushed.status == 1
    assert flushed.error.startswith(f"--metrics 127.0.0.1:{port}: Address already in use")
    assert notes() == []


def parse(value: str) -> Any:
    parser = Command().create_parser("manage.py", "flush_queue")
    return parser.parse_args(["--metrics", value]).metrics


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9100", "127.0.0.1", 9100),
        ("0.0.0.0:9100", "0.0.0.0", 9100),
        ("metrics.local:0", "metrics.local", 0),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text: str, host: str, port: int) -> None:
    assert parse(text) == (host, port)


@pytest.mark.parametrize("text", ["", "http", ":9100", "65536", "-1", "host:", "::1:", "a:b"])
def test_what_is_no_address_is_refused_at_once(text: str) -> None:
    with pytest.raises(CommandError, match=r"neither a port \(9100\) nor a host and a port"):
        parse(text)


def test_without_the_library_the_option_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(CommandError, match=r"pip install 'django-async\[prometheus\]'"):
        parse("9100")


def test_without_the_option_the_library_is_not_loaded() -> None:
    job = schedule(calls.has_loaded, ["prometheus_client"])
    with manage("flush_queue") as process:
        _, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, Job.objects.get(pk=job.pk).result) == (0, "false"), errors


def test_the_number_of_series_is_bounded() -> None:
    figures = Figures()
    for number in range(MOST_QUEUES + 50):
        figures.add(f"queue {number}", "executed", 0.1, 0.1)
        figures.add(f"queue {number}", "failed", None, 0.1)
    found = {queue.name: queue for queue in figures.read()}
    figures.close()
    assert len(found) == MOST_QUEUES + 1
    assert found["queue 99"].outcomes["executed"] == 1
    assert found[OTHERS].outcomes == {"executed": 50, "failed": 50, "discarded": 0, "cancelled": 0}
    assert sum(found[OTHERS].waits.buckets) == 50


def test_the_longest_name_of_a_queue_is_kept() -> None:
    figures = Figures()
    figures.add("😀" * 100, "executed", 0.1, 10**6)
    [queue] = figures.read()
    figures.close()
    assert queue.name == "😀" * 100
    assert (queue.runs.buckets[-1], queue.runs.sum) == (1, 10**6)
