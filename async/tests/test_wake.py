"""NOTIFY: one for each transaction that makes jobs, after its commit; and none where not wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count, pairwise
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_async import pausing, schedule, wake
from django_async.api import pause_queue, resume_queue, schedule_many
from django_async.fetch import Fetch, Selection
from django_async.hints import Hint
from django_async.lane import Lane
from django_async.models import Group, Job
from django_async.outcomes import Lost
from django_async.patrol import Interval
from django_async.runner import run_job
from suite import jobs
from suite.models import Note
from suite.service import Service
from suite.spying import each_statement
from suite.together import elsewhere, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only PostgreSQL notifies"
)


@pytest.fixture(autouse=True)
def _each_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "QUIET", 0.0)
    wake._quiet_until.clear()


Heard = Callable[[int], list[wake.News]]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What was heard, when so much was; all notifications before the last one are there by then."""
    ear = wake.Ear("default")
    ear.listen()
    kept: list[wake.News] = []

    def hear(number: int) -> list[wake.News]:
        def enough() -> bool:
            kept.extend(ear.hear())
            return len(kept) >= number

        wait_until(enough, f"{number} notifications")
        return kept

    yield hear
    connection.close()


def make(**options: Any) -> int:
    return int(elsewhere(lambda: schedule(jobs.note, **options).pk))


def told(job_id: int) -> Hint:
    """A job as it is told of."""
    return Hint(job_id, 0, 5, None, None)


@on_postgresql
def test_a_job_alone_is_told_of_so_that_nobody_has_to_read_it(heard: Heard) -> None:
    ids = [make() for _ in range(3)]
    assert heard(3) == [told(number) for number in ids]
    assert heard(3) == Fetch("default", None, Selection()).again(ids)


@on_postgresql
@pytest.mark.parametrize(
    "options",
    [
        {"run_after": timedelta(0)},
        {"group": "group"},
        {"meta": {"text": "x" * 2000}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_job_that_would_have_to_be_told_at_length_is_told_by_its_id(
    heard: Heard, options: dict[str, Any]
) -> None:
    if "group" in options:
        Group.objects.create(reference="group")
    number = make(**options)
    assert heard(1) == [number]


@pytest.mark.parametrize(
    ("payload", "news"),
    [
        ("", None),
        ("12", 12),
        ("12 -3 {}", Hint(12, 0, -3, None, None)),
        ('12 0 {"a": "b  c"}', Hint(12, 0, 0, None, None, '{"a": "b  c"}')),
        ("12 -3", None),
        ('[12, -3, "{}"]', None),
        ("nonsense", None),
        ("9" * 7000, None),
        ("12 1e999 {}", None),
        ("12 NaN {}", None),
        ("12  {}", None),
        (" 12 {}", None),
        (str(2**63), None),
        (f"{2**63} 0 {{}}", None),
        ("-1 0 {}", None),
    ],
    ids=lambda value: f"{value!s:.20}",
)
def test_whatever_somebody_notifies_is_some_news(payload: str, news: wake.News) -> None:
    assert wake._news(payload) == news


@on_postgresql
def test_a_job_that_is_not_what_it_was_told_to_be_is_not_run() -> None:
    """Anybody who may connect to the database may notify."""
    job = schedule(jobs.note, meta={"atomic": False})
    outcome = run_job(Hint(job.pk, 0, 5, None, None, "{}"), "default")
    assert outcome == Lost(outcome.hint, taken=False)
    assert not Note.objects.exists()


@on_postgresql
def test_pausing_and_resuming_are_told(heard: Heard) -> None:
    ear = wake.Ear("default")
    ear.listen()
    assert ear.has_new_pauses()  # when it begins to listen, it knows nothing

    def has_new_pauses() -> bool:
        ear.hear()
        return ear.has_new_pauses()

    for act in (pause_queue, resume_queue):
        assert not has_new_pauses()
        elsewhere(lambda act=act: act("mail") and None)
        wait_until(has_new_pauses, "word of it")


@on_postgresql
def test_a_transaction_notifies_once_however_many_jobs_it_makes(heard: Heard) -> None:
    def several() -> None:
        with transaction.atomic():
            for _ in range(5):
                schedule(jobs.note)
            with transaction.atomic():
                schedule(jobs.note)

    elsewhere(several)
    elsewhere(lambda: schedule_many([{"function": jobs.note}] * 5) and None)
    last = make()
    assert heard(3) == [None, None, told(last)]


@on_postgresql
def test_jobs_that_get_another_time_are_told_of(heard: Heard) -> None:
    job = Job.objects.get(pk=make(run_after=timedelta(days=1)))
    elsewhere(job.retry)
    elsewhere(job.reschedule, timedelta(hours=1))
    Job.objects.update(attempts=1)
    elsewhere(Job.objects.retry_failed)
    assert heard(4) == [job.pk] * 4


@on_postgresql
def test_what_is_rolled_back_is_not_notified(heard: Heard) -> None:
    def undone() -> None:
        with transaction.atomic():
            schedule(jobs.note)
            transaction.set_rollback(True)

    elsewhere(undone)
    last = make()
    assert heard(1) == [told(last)]


@on_postgresql
def test_a_job_after_a_savepoint_that_was_rolled_back_is_notified(heard: Heard) -> None:
    made: list[int] = []

    def partly() -> None:
        with transaction.atomic():
            with transaction.atomic():
                schedule(jobs.note)
                transaction.set_rollback(True)
            made.append(schedule(jobs.note).pk)

    elsewhere(partly)
    assert heard(1) == [told(number) for number in made]


@on_postgresql
def test_a_transaction_with_many_hooks_of_its_own_notifies_all_the_same(heard: Heard) -> None:
    def with_hooks() -> None:
        with transaction.atomic():
            for _ in range(120):
                schedule(jobs.note)
                transaction.on_commit(lambda: None)

    elsewhere(with_hooks)
    last = make()
    wait_until(lambda: told(last) in heard(1), "the notification after them")
    assert 1 <= len(heard(1)) - 1 <= 5


@on_postgresql
def test_a_job_that_schedules_others_notifies_too(heard: Heard) -> None:
    schedule(jobs.parent, [2])
    heard(1)
    elsewhere(lambda: Service().run(until=lambda: not Job.objects.pending().exists()))
    assert heard(2)[1:] == [None]


@on_postgresql
@override_settings(ASYNC={"NOTIFY": False})
def test_it_can_be_switched_off(heard: Heard) -> None:
    with CaptureQueriesContext(connection) as captured:
        schedule(jobs.note)
    assert not any("NOTIFY" in query["sql"] for query in captured)
    assert not wake.Ear("default").is_deaf


@on_postgresql
def test_a_notification_that_fails_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wake, "CHANNEL", "x" * 100)  # longer than the server takes
    job = schedule(jobs.note)
    assert Job.objects.filter(pk=job.pk).exists()
    assert "_Wake" in caplog.text


@pytest.mark.skipif(connection.vendor == "postgresql", reason="there it notifies")
def test_elsewhere_scheduling_costs_no_statement_for_it() -> None:
    with CaptureQueriesContext(connection) as captured:
        schedule(jobs.note)
    assert len(captured) == 1
    assert not wake.Ear("default").is_deaf


@on_postgresql
def test_after_a_notification_a_process_is_quiet_for_a_moment(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "QUIET", 60.0)
    first, _ = make(), make()
    wake._quiet_until.clear()
    last = make()
    assert heard(2) == [told(first), told(last)]


@on_postgresql
def test_what_comes_with_the_answer_to_a_statement_ends_the_wait_too() -> None:
    """The socket has nothing more to say then."""
    service = Service(ear=True, interval=Interval(3600.0, 3600.0))
    [lane] = service.lanes
    made: list[int] = []

    def ask_until_heard() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return lane.ear is not None and lane.ear.has_heard

    def between() -> None:
        if service.time.now == 0 and not made:
            made.append(make())
            wait_until(ask_until_heard, "a notification in an answer")
            assert lane.pause(takes=True) == 0

    service.each_turn = between
    service.run(until=lambda: service.turns > 20)
    assert service.served.ids == made


@on_postgresql
def test_a_service_hears_on_its_own_session_and_looks_when_that_is_new() -> None:
    service = Service(ear=True)
    [lane] = service.lanes
    assert lane.ear is not None
    assert lane.ear.is_deaf or lane.ear.fileno() is None
    schedule(jobs.note)
    service.run(until=lambda: not Job.objects.pending().exists())
    assert not lane.ear.is_deaf
    assert lane.ear.fileno() == connection.connection.fileno()


def serve_one_by_one(service: Service, number: int) -> list[str]:
    """Have a service run so many jobs, each made when it has had nothing to do for some turns; what
    it wrote of parents before the attempt at each."""
    made: list[int] = []
    written: list[str] = []
    turns = count(1)

    def between() -> None:
        if len(made) < number and next(turns) % 5 == 0 and not Job.objects.pending().exists():
            made.append(make())

    def note(sql: str, _: Any) -> None:
        if sql.startswith("UPDATE async_parent") and Job.objects.pending().exists():
            written.append(f"before job {len(made)}")

    service.each_turn = between
    with each_statement(note):
        service.run(until=lambda: len(made) == number and not Job.objects.pending().exists())
    assert service.served.ids == made
    return written


@on_postgresql
def test_a_job_that_was_foreseen_does_not_wait_until_it_is_written_down() -> None:
    service = Service(ear=True, interval=Interval(3600.0, 3600.0))
    assert serve_one_by_one(service, 50) == ["before job 1"]


@on_postgresql
@override_settings(ASYNC={"NOTIFY": False})
def test_who_is_not_told_of_jobs_foresees_none() -> None:
    service = Service(ear=True, interval=Interval(0.01, 0.01))
    assert serve_one_by_one(service, 3) == [f"before job {number}" for number in (1, 2, 3)]


@on_postgresql
def test_a_new_job_is_handed_out_before_the_parent_keeps_house(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not twice in a row: jobs may come without end."""
    [lane] = Service(ear=True).lanes
    kept: list[Lane] = []
    monkeypatch.setattr(Lane, "_keep_house", lambda lane: kept.append(lane))
    lane.parent.note(make())
    Job.objects.all().delete()
    lane.open()
    lane.attend()  # hears from now on
    lane.next()  # has seen what is paused
    lane.parent.foresee([])
    kept.clear()
    turns = []
    for _ in range(4):
        job = make()
        wait_until(lambda: lane.ear and lane.ear.has_news, "the notification")
        lane.attend()
        turns.append(len(kept))
        assert lane.next() == told(job)
    assert turns == [0, 1, 1, 2]


@on_postgresql
def test_who_is_told_of_pauses_looks_each_second_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A notification may be lost: also while there is nothing to do."""
    service = Service(ear=True, interval=Interval(3600.0, 3600.0))
    moments: list[float] = []

    def paused(_: str) -> frozenset[str]:
        moments.append(service.time.now)
        return frozenset()

    monkeypatch.setattr(pausing, "paused", paused)
    service.run(until=lambda: service.time.now > 20)
    assert len(moments) > 15
    assert max(late - early for early, late in pairwise(moments)) <= 1.25
