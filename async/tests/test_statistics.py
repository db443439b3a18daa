"""Statistics are counted beside the jobs, by each parent for itself, and merged to a few rows."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection, connections, transaction

from django_async import clock, histogram, rollup, schedule
from django_async.hints import Hint
from django_async.histogram import bucket, middle, percentile
from django_async.ledger import INTERVAL, MOST_LABELS, OTHERS, Ledger, Sum, as_rows, slot
from django_async.models import Job, Statistic
from django_async.outcomes import Executed
from django_async.parents import Registration
from django_async.slots import ALL, COARSE, FINE, FUNCTION, LONG, OUTCOMES, QUEUE
from django_async.upkeep import Accountant
from suite import jobs
from suite.models import Note
from suite.processes import manage
from suite.service import Service, place
from suite.spying import each_statement
from suite.together import elsewhere, wait_until


def ended(name: str = "shop.send", queue: str = "mail", seconds: float = 0.5) -> Executed:
    """A good end of an attempt that had waited for a tenth of a second."""
    hint = Hint(1, 0, 5, None, None, "{}")
    return Executed(hint, name, seconds, name=name, queue=queue, waited=0.1)


def put(begin: datetime, number: int = 1, width: int = FINE, label: str = "") -> None:
    """A row about so many executed jobs."""
    found = Sum()
    for _ in range(number):
        found.count("executed", bucket(0.1), bucket(0.5), 0.5)
    scope = FUNCTION if label else ALL
    Statistic.objects.bulk_create(as_rows([((width, begin, scope, label), found)]))


def totals(scope: str = ALL) -> dict[str, Counter[str]]:
    """What all rows of that kind say together, by label."""
    found: dict[str, Counter[str]] = {}
    for row in Statistic.objects.filter(scope=scope):
        counted = found.setdefault(row.label, Counter())
        counted.update({outcome: getattr(row, outcome) for outcome in OUTCOMES})
    return found


@pytest.mark.parametrize("percent", [1, 50, 90, 99])
def test_a_percentile_is_within_a_tenth_of_what_was(percent: float) -> None:
    random.seed(7)
    times = sorted(random.lognormvariate(0, 2) for _ in range(5000))
    found = percentile(Counter(map(bucket, times)), percent)
    exact = times[round(5000 * percent / 100) - 1]
    assert found == pytest.approx(exact, rel=0.1)


def test_histograms_of_several_processes_add_up_to_that_of_all() -> None:
    times = [0.0, 0.0005, 0.02, 0.5, 3.0, 3.1, 86400.0, 1e12]
    parts = Counter(map(bucket, times[:3])) + Counter(map(bucket, times[3:]))
    kept = histogram.load(histogram.dump(parts))
    assert kept == Counter(map(bucket, times))
    assert percentile(kept, 0) == histogram.SHORTEST


@pytest.mark.parametrize("seconds", [-1.0, 0.0, float("nan"), 1e-9])
def test_what_is_shorter_than_the_shortest_counts_as_that(seconds: float) -> None:
    assert middle(bucket(seconds)) == histogram.SHORTEST


@pytest.mark.parametrize("seconds", [3e8, 1e12, float("inf")])
def test_what_is_longer_than_the_longest_counts_as_that(seconds: float) -> None:
    assert middle(bucket(seconds)) == pytest.approx(histogram.LONGEST, rel=0.1)


def test_nothing_has_no_percentile() -> None:
    assert percentile(Counter(), 50) is None


def test_one_unreadable_histogram_does_not_spoil_the_others() -> None:
    assert histogram.load('{"3":1}', "{", '{"3":2,"5":1}') == Counter({3: 3, 5: 1})


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "null", '{"1": null}'])
def test_an_unreadable_histogram_is_an_empty_one(text: str) -> None:
    assert histogram.load(text) == Counter()


@pytest.mark.django_db
def test_a_pass_leaves_rows_about_all_each_queue_and_each_function(
    flush: Callable[..., Any],
) -> None:
    for _ in range(3):
        schedule(jobs.note, queue="mail")
    schedule(jobs.fail, meta={"max_attempts": 1})
    schedule(jobs.fail)
    flush(keep_going=True)
    assert totals(ALL)[""] == Counter(executed=3, failed=1, discarded=1, cancelled=0)
    assert totals(QUEUE)["mail"]["executed"] == 3
    assert totals(QUEUE)["default"] == Counter(executed=0, failed=1, discarded=1, cancelled=0)
    assert totals(FUNCTION)["suite.jobs.note"]["executed"] == 3
    assert totals(FUNCTION)["suite.jobs.fail"]["failed"] == 1


@pytest.mark.django_db
def test_rows_say_how_long_jobs_waited_and_ran(flush: Callable[..., Any]) -> None:
    now = clock.utc_now("default")
    schedule(jobs.note, run_after=now - timedelta(seconds=100))
    flush()
    row = Statistic.objects.get(scope=ALL)
    assert percentile(histogram.load(row.waits), 50) == pytest.approx(100, rel=0.2)
    assert 0 < row.seconds < 10
    assert histogram.load(row.runs).total() == 1


@pytest.mark.django_db
def test_a_pass_without_jobs_writes_no_row(flush: Callable[..., Any]) -> None:
    flush()
    assert not Statistic.objects.exists()


@pytest.mark.django_db
def test_a_service_saves_every_ten_seconds_and_each_attempt_once() -> None:
    service = Service()
    saved: list[float] = []

    def turn() -> None:
        if Statistic.objects.count() > 3 * len(saved):
            saved.append(service.time.now)
        if service.turns % 5 == 0:
            schedule(jobs.nothing)

    service.each_turn = turn
    served = service.run(lambda: service.time.now > 45)
    assert len(saved) >= 3
    assert all(late - early >= INTERVAL for early, late in pairwise(saved))
    assert totals()[""]["executed"] == len(served.ended) == Job.objects.executed().count()


@pytest.mark.django_db
def test_what_was_counted_in_vain_is_saved_later(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger("default", lambda: 0.0)
    ledger.count(ended())
    with monkeypatch.context() as broken:
        broken.setattr(clock, "utc_now", lambda using: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ledger.save()
    ledger.count(ended())
    ledger.save()
    assert totals()[""]["executed"] == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has one writer")
def test_nobody_waits_for_the_one_writer_to_keep_statistics() -> None:
    begin = slot(clock.utc_now("default"), FINE)
    put(begin)
    put(begin)
    ledger = Ledger("default", lambda: 0.0)
    ledger.count(ended())

    def is_put_off() -> bool:
        began = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            ledger.save()
        assert rollup.roll_up("default") == 0
        return time.monotonic() - began < 2

    with transaction.atomic():
        Note.objects.create(text="by a job that takes its time")
        assert elsewhere(is_put_off)
    ledger.save()
    assert rollup.roll_up("default") == 2
    assert totals()[""]["executed"] == 3


@pytest.mark.django_db
def test_rows_that_cannot_be_saved_harm_no_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise DataError("for once")

    monkeypatch.setattr(Ledger, "_insert", fail)
    service = Service()
    schedule(jobs.note)
    late: list[Job] = []

    def turn() -> None:
        if service.time.now > 25 and not late:
            late.append(schedule(jobs.note))

    service.each_turn = turn
    service.run(lambda: service.time.now > 40)
    assert Job.objects.executed().count() == 2
    assert "for once" in caplog.text
    assert not Statistic.objects.exists()


@pytest.mark.django_db
def test_counting_adds_no_statement_to_a_job(flush: Callable[..., Any]) -> None:
    schedule(jobs.note)
    sent: list[str] = []
    with each_statement(lambda sql, params: sent.append(sql)):
        flush()
    about = [number for number, sql in enumerate(sent) if "async_statistic" in sql]
    last_of_job = max(number for number, sql in enumerate(sent) if "executed =" in sql)
    assert about
    assert min(about) > last_of_job
    assert sum(sql.startswith("INSERT") for sql in sent if "async_statistic" in sql) == 1


@pytest.mark.django_db
def test_names_beyond_the_first_two_hundred_share_one_row() -> None:
    ledger = Ledger("default", lambda: 0.0)
    for number in range(MOST_LABELS + 50):
        ledger.count(ended(name=f"shop.jobs.send_{number}", queue=f"queue {number % 2}"))
    ledger.save()
    found = totals(FUNCTION)
    assert sum(one["executed"] for one in found.values()) == MOST_LABELS + 50
    assert found[OTHERS]["executed"] > 50
    assert Statistic.objects.count() <= MOST_LABELS + 2


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["<script>" * 40, "\u202e" * 255, "x" * 300, "\x01\x1f"])
def test_names_of_any_kind_are_counted(name: str) -> None:
    ledger = Ledger("default", lambda: 0.0)
    ledger.count(ended(name=name, queue=name[:100]))
    ledger.save()
    assert Statistic.objects.get(scope=FUNCTION).label == name[:255]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a service is killed as on POSIX")
def test_a_lost_parent_loses_no_more_than_what_it_had_not_saved() -> None:
    with manage("flush_queue", "--forever", "--workers=1") as service:
        schedule(jobs.note)
        wait_until(Job.objects.executed().exists, "the first job")
        wait_until(Statistic.objects.exists, "the first saving")
        schedule(jobs.note)
        wait_until(lambda: Note.objects.count() == 2, "the second job")
        service.kill()
        service.wait()
    assert totals()[""]["executed"] == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
def test_several_workers_are_added_up_by_their_parent(flush: Callable[..., Any]) -> None:
    for _ in range(20):
        schedule(jobs.note)
    flush(workers=3)
    assert totals()[""]["executed"] == 20
    assert Statistic.objects.count() == 3


@pytest.mark.django_db
def test_rows_about_the_same_become_one_and_no_attempt_is_lost() -> None:
    begin = slot(clock.utc_now("default"), FINE)
    for number in range(1, 8):
        put(begin, number)
    put(begin, 5, label="shop.send")
    assert rollup.roll_up("default") == 6
    assert Statistic.objects.count() == 2
    row = Statistic.objects.get(scope=ALL)
    assert (row.executed, histogram.load(row.runs).total()) == (28, 28)
    assert row.seconds == pytest.approx(14)
    assert rollup.roll_up("default") == 0


@pytest.mark.django_db
def test_slots_of_some_hours_ago_become_one_of_an_hour() -> None:
    hour = slot(clock.utc_now("default"), COARSE) - timedelta(hours=4)
    for number in range(12):
        put(hour + timedelta(seconds=number * FINE), 2)
    put(hour, 100, width=COARSE)
    while rollup.roll_up("default"):
        pass
    row = Statistic.objects.get()
    assert (row.width, row.executed) == (COARSE, 124)
    assert clock.as_utc(row.begin) == hour


@pytest.mark.django_db
def test_hours_of_the_day_before_become_one_slot_of_six() -> None:
    six = slot(clock.utc_now("default"), LONG) - timedelta(hours=36)
    for number in range(6):
        put(six + timedelta(hours=number), 2, width=COARSE)
    put(six + timedelta(hours=1, minutes=5), 3)
    while rollup.roll_up("default"):
        pass
    row = Statistic.objects.get()
    assert (row.width, row.executed, clock.as_utc(row.begin)) == (LONG, 15, six)


@pytest.mark.django_db
def test_a_slot_that_is_made_wider_gets_what_came_late() -> None:
    six = slot(clock.utc_now("default"), LONG) - timedelta(hours=30)
    put(six, 10, width=LONG)
    put(six, 1)
    rollup.roll_up("default")
    assert [row.executed for row in Statistic.objects.all()] == [11]


@pytest.mark.django_db
def test_slots_of_the_last_two_hours_stay_short() -> None:
    now = clock.utc_now("default")
    for number in range(24):
        put(slot(now - timedelta(seconds=number * FINE), FINE))
    rollup.roll_up("default")
    assert set(Statistic.objects.values_list("width", flat=True)) == {FINE}


@pytest.mark.django_db
def test_what_is_older_than_eight_days_goes() -> None:
    now = clock.utc_now("default")
    put(slot(now - timedelta(days=9), COARSE), width=COARSE)
    put(slot(now - timedelta(days=9), FINE))
    put(slot(now - timedelta(days=7), COARSE), 3, width=COARSE)
    while rollup.roll_up("default"):
        pass
    assert totals()[""]["executed"] == 3
    assert Statistic.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="it locks no rows")
def test_rows_that_somebody_merges_already_are_left_alone_without_a_wait() -> None:
    begin = slot(clock.utc_now("default"), FINE)
    for _ in range(4):
        put(begin)
    some = list(Statistic.objects.order_by("pk").values_list("pk", flat=True)[:2])
    merged: list[int] = []

    def merge() -> None:
        try:
            merged.append(rollup.roll_up("default"))
        finally:
            connections.close_all()

    with transaction.atomic():
        list(Statistic.objects.select_for_update().filter(pk__in=some))
        other = threading.Thread(target=merge)
        other.start()
        other.join(10)
        assert not other.is_alive()
    assert merged == [1]
    assert totals()[""]["executed"] == 4


@pytest.mark.django_db
@pytest.mark.parametrize(("rank", "left"), [(0, 1), (1, 3)])
def test_of_several_services_the_first_one_merges_every_minute(
    monkeypatch: pytest.MonkeyPatch, rank: int, left: int
) -> None:
    begin = slot(clock.utc_now("default"), FINE)
    for _ in range(3):
        put(begin)
    service = Service()
    monkeypatch.setattr(Registration, "look_around", lambda self: False)
    place(service, rank, 2)
    accountant = Accountant(service.lanes[0], lambda function, *args: function(*args))
    service.run(lambda: service.time.now > 130, accountant)
    assert Statistic.objects.count() == left


@pytest.mark.django_db
def test_passes_merge_what_passes_before_them_left(flush: Callable[..., Any]) -> None:
    for _ in range(4):
        schedule(jobs.note)
        flush()
    assert totals()[""]["executed"] == 4
    assert Statistic.objects.count() <= 6, "three rows, of two slots at the most"
