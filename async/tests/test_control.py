"""What parents show of what they run, and how they heed what they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from django_async import clock, pausing, schedule
from django_async.control import LOOK_AROUND, SHORT, Control, Run
from django_async.models import Cancellation, Job, Parent, Running
from django_async.noticeboard import Noticeboard, noticeboard
from django_async.parents import Registration
from suite import jobs
from suite.spying import each_statement
from suite.together import alive, elsewhere, locked

pytestmark = pytest.mark.django_db(transaction=True)

on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's second file")
row_locks = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")

in_tables = pytest.mark.skipif(connection.vendor == "sqlite", reason="that file is in Unicode")

ME, OTHER = "1" * 32, "2" * 32


class Time:
    """A clock for the tests to turn."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def board() -> Iterator[Noticeboard]:
    """The noticeboard of the default database, cleared of what other tests have left."""
    board = noticeboard("default")
    board.erase({run.parent_id for run in board.runs()})
    board.drop(board.requests())
    yield board
    board.close()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def control(board: Noticeboard, time: Time) -> Iterator[Control]:
    control = Control("default", ME, time)
    yield control
    control.clear()


def run(job: Job, seconds: float = 2.0, shown: Any = None, attempt: int = 1) -> Run:
    return Run(job.pk, attempt, 4711, seconds, shown)


def ask(board: Noticeboard, *asked_for: Job) -> None:
    now = clock.now("default")
    board.ask([Cancellation(job_id=job.pk, added=job.added, asked=now) for job in asked_for])


def shown(board: Noticeboard) -> dict[int, str]:
    """The token of the parent that shows each job."""
    return {row.job_id: row.parent_id for row in board.runs()}


def state(job: Job) -> str:
    job.refresh_from_db()
    return job.state


# What runs.


def test_what_runs_is_shown_with_its_attempt_process_start_and_progress(
    board: Noticeboard, control: Control
) -> None:
    job = schedule(jobs.note)
    told = {"done": 3, "total": 7.5, "message": "Zoë's third"}
    before = clock.now("default")
    assert control.beat([run(job, 60.0, told, attempt=2)]) == set()
    [row] = board.runs()
    assert (row.job_id, row.parent_id, row.attempt, row.pid) == (job.pk, ME, 2, 4711)
    assert (row.done, row.total, row.message) == (3.0, 7.5, "Zoë's third")
    assert timedelta() <= row.since - before + timedelta(seconds=60) < timedelta(seconds=5)


@pytest.fixture
def no_chinese() -> Iterator[None]:
    """A table of what runs that has no Chinese characters."""
    make = "ALTER TABLE async_running MODIFY message {} CHARACTER SET {} NOT NULL"
    make = make.format(Running._meta.get_field("message").db_type(connection), "{}")
    undo = make
    if connection.vendor == "postgresql":
        make = (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.message ~ '[^ -~]' THEN RAISE SQLSTATE '22P05'; END IF; RETURN NEW; END $$;"
            " CREATE TRIGGER refuse BEFORE INSERT ON async_running"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        undo = "DROP FUNCTION refuse CASCADE"
    with connection.cursor() as cursor:
        cursor.execute(make.format("latin1"))
    yield
    with connection.cursor() as cursor:
        cursor.execute(undo.format("utf8mb4"))


@in_tables
@pytest.mark.usefixtures("no_chinese")
def test_progress_of_which_the_database_lacks_characters_is_shown_escaped(
    board: Noticeboard, control: Control
) -> None:
    both = [schedule(jobs.note) for _ in range(2)]
    messages = ["漢字", "plain"]
    told = zip(both, messages, strict=True)
    control.beat([run(job, 60.0, {"done": 1, "message": message}) for job, message in told])
    assert [row.message for row in board.runs()] == [r"\u6f22\u5b57", "plain"]


def test_what_has_not_run_for_long_is_not_shown(board: Noticeboard, control: Control) -> None:
    job = schedule(jobs.note)
    control.beat([run(job, SHORT / 2)])
    assert shown(board) == {}
    control.beat([run(job, SHORT)])
    assert shown(board) == {job.pk: ME}


def test_what_runs_no_longer_is_struck_out(board: Noticeboard, control: Control) -> None:
    first, second = schedule(jobs.note), schedule(jobs.note)
    control.beat([run(first), run(second)])
    control.beat([run(second)])
    assert shown(board) == {second.pk: ME}
    control.clear()
    assert shown(board) == {}


def test_progress_and_a_new_attempt_are_told_anew(board: Noticeboard, control: Control) -> None:
    job = schedule(jobs.note)
    control.beat([run(job, 60.0, {"done": 1})])
    since = board.runs()[0].since
    control.beat([run(job, 61.5, {"done": 2})])
    assert [(row.done, row.since) for row in board.runs()] == [(2.0, since)]
    control.beat([run(job, 1.0, attempt=2)])
    [row] = board.runs()
    assert (row.attempt, row.done) == (2, None)
    assert row.since > since


def test_where_nothing_has_changed_nothing_is_written(control: Control) -> None:
    job = schedule(jobs.note)
    control.beat([run(job, 1.0)])
    written: list[str] = []
    with each_statement(lambda sql, _: written.append(sql)):
        control.beat([run(job, 1.25)])
    assert not [sql for sql in written if not sql.startswith(("SELECT", "PRAGMA"))]


@pytest.mark.parametrize(
    "strange",
    [
        "half done",
        [1, 2],
        {"done": "1", "total": math.nan, "message": 7},
        {"done": math.inf, "total": 10**400},
        {"message": None},
    ],
)
def test_what_is_no_progress_is_not_shown(
    board: Noticeboard, control: Control, strange: object
) -> None:
    control.beat([run(schedule(jobs.note), shown=strange)])
    [row] = board.runs()
    assert (row.done, row.total, row.message) == (None, None, "")


def test_a_message_that_a_database_cannot_hold_is_shown_as_it_can(
    board: Noticeboard, control: Control
) -> None:
    control.beat([run(schedule(jobs.note), shown={"message": "a\0b\ud800" + "ü" * 300})])
    [row] = board.runs()
    assert row.message == ("a\\x00b\\ud800" + "ü" * 300)[:200]


def test_after_a_lost_connection_everything_is_told_anew(
    board: Noticeboard, control: Control
) -> None:
    job = schedule(jobs.note)
    control.beat([run(job)])
    board.erase({ME})  # by somebody who took this parent for dead
    control.board.close()
    connection.close()
    control.beat([run(job)])
    assert shown(board) == {job.pk: ME}


def test_who_was_struck_out_by_mistake_is_back_soon(
    board: Noticeboard, control: Control, time: Time
) -> None:
    job = schedule(jobs.note)
    control.beat([run(job)])
    board.erase({ME})
    time.now += LOOK_AROUND
    control.beat([run(job)])
    control.beat([run(job)])
    assert shown(board) == {job.pk: ME}


# The dead.


def test_what_a_dead_parent_showed_is_struck_out_at_the_second_look(
    board: Noticeboard, control: Control, time: Time
) -> None:
    job, mine = schedule(jobs.note), schedule(jobs.note)
    Parent.objects.create(token=OTHER, host="elsewhere", process="1 ended")
    other = Control("default", OTHER)
    other.beat([run(job)])
    control.beat([run(mine)])
    if connection.vendor != "sqlite":
        assert shown(board) == {job.pk: OTHER, mine.pk: ME}
    time.now += LOOK_AROUND
    control.beat([run(mine)])
    assert shown(board) == {mine.pk: ME}
    other.board.close()


def test_what_a_parent_showed_that_is_struck_out_itself_goes_as_well(
    board: Noticeboard, control: Control, time: Time
) -> None:
    other = Control("default", OTHER)
    other.beat([run(schedule(jobs.note))])
    control.beat([])
    time.now += LOOK_AROUND
    control.beat([])
    assert shown(board) == {}
    other.board.close()


def test_what_a_living_parent_shows_stays(board: Noticeboard, control: Control, time: Time) -> None:
    job, other = schedule(jobs.note), Registration("default")

    def begin() -> None:
        other.stamp([])
        shows = Control("default", other.token)
        shows.beat([run(job)])
        shows.board.close()

    with alive(begin):
        for _ in range(4):
            control.beat([])
            time.now += LOOK_AROUND
        assert shown(board) == {job.pk: other.token}


def test_the_end_of_a_parent_takes_what_it_shows_with_it(board: Noticeboard) -> None:
    parent = Registration("default")
    parent.register()
    control = Control("default", parent.token)
    control.beat([run(schedule(jobs.note))])
    parent.withdraw()
    control.clear()
    assert shown(board) == {}


# Requests.


def test_a_run_that_is_to_be_cancelled_is_named_until_it_has_ended(
    board: Noticeboard, control: Control
) -> None:
    """Its task may have ended before it could be interrupted, and be handed out again: so it is
    when SQLite's writer was somebody else for longer than the timeout."""
    job, other = schedule(jobs.note), schedule(jobs.note)
    runs = [run(job, 0.01), run(other, 0.01)]
    assert control.beat(runs) == set()
    ask(board, job)
    assert control.beat(runs) == control.beat(runs) == {job.pk}
    assert control.beat([run(job, attempt=2)]) == {job.pk}
    assert (state(job), state(other)) == ("due", "due")
    assert len(board.requests()) == 1


def test_what_nobody_runs_any_more_is_cancelled_by_any_parent(
    board: Noticeboard, control: Control
) -> None:
    job, other = schedule(jobs.note), schedule(jobs.note)
    ask(board, job)
    assert control.beat([run(other)]) == set()
    assert (state(job), state(other)) == ("cancelled", "due")
    assert board.requests() == []


@row_locks
def test_a_locked_row_is_not_waited_for_and_not_forgotten(
    board: Noticeboard, control: Control
) -> None:
    job = schedule(jobs.note)
    ask(board, job)
    with locked(job):
        assert control.beat([]) == set()
        assert len(board.requests()) == 1
    control.beat([])
    assert (state(job), board.requests()) == ("cancelled", [])


@on_sqlite
def test_the_one_writer_is_not_waited_for(board: Noticeboard, control: Control) -> None:
    job = schedule(jobs.note)
    ask(board, job)
    with transaction.atomic():
        Job.objects.filter(pk=job.pk).update(priority=3)
        elsewhere(beat_once)
        assert len(board.requests()) == 1
    elsewhere(beat_once)
    assert (state(job), board.requests()) == ("cancelled", [])


def beat_once() -> None:
    control = Control("default", OTHER)
    control.beat([])
    control.clear()


def test_a_job_that_runs_without_a_transaction_is_left_to_its_parent(
    board: Noticeboard, control: Control
) -> None:
    job = schedule(jobs.note)
    Job.objects.update(started=clock.now("default"))
    ask(board, job)
    control.beat([])
    job.refresh_from_db()
    assert (job.cancelled, len(board.requests())) == (None, 1)


@pytest.mark.parametrize("end", ["executed", "cancelled", "discarded", "deleted"])
def test_a_request_is_struck_out_when_its_job_has_ended(
    board: Noticeboard, control: Control, end: str
) -> None:
    job, now = schedule(jobs.note), clock.now("default")
    runs = [run(job)]
    ask(board, job)
    if end == "deleted":
        job.delete()
    else:
        Job.objects.update(started=now, **{end: now})
    before = list(Job.objects.values())
    assert control.beat(runs) == set()
    assert board.requests() == []
    assert list(Job.objects.values()) == before


def test_a_request_never_hits_a_later_job_with_the_same_id(
    board: Noticeboard, control: Control
) -> None:
    job = schedule(jobs.note)
    ask(board, job)
    Job.objects.update(added=clock.now("default") + timedelta(microseconds=1))
    assert control.beat([run(job)]) == set()
    assert control.beat([]) == set()
    assert (state(job), board.requests()) == ("due", [])


def test_a_request_that_was_taken_back_meanwhile_cancels_nothing(
    board: Noticeboard, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = schedule(jobs.note)
    ask(board, job)
    first = control.board.requests()
    board.drop(first)
    answers = [first]
    monkeypatch.setattr(type(control.board), "requests", lambda _: answers.pop() if answers else [])
    control.beat([])
    assert state(job) == "due"


# Pauses.


def test_paused_queues_are_told(control: Control) -> None:
    assert control.paused() == frozenset()
    for name in ("mail", "mail", "Mail", "máil", "mail ", ""):
        pausing.pause(name, "default")
    assert control.paused() == {"mail", "Mail", "máil", "mail ", ""}
    assert pausing.resume("mail", "default")
    assert not pausing.resume("mail", "default")
    assert control.paused() == {"Mail", "máil", "mail ", ""}
