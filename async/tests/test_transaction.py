"""One job's transaction: effects, children, result and mark together, or nothing but the error.

Each promise holds whichever way the job is run: by ``execute()``, by a flush in this process, and
by a worker; and in whichever form its transaction travels to the server (roundtrips.py).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_async import clock, plans, roundtrips, schedule, store, trouble
from django_async.errors import JobNotRunnable, TransactionEnded
from django_async.models import Error, Job
from suite import abuse, jobs
from suite.attempts import WAYS, assert_no_effects, assert_one_failure, attempt, notes
from suite.models import Account

ON_POSTGRES = connection.vendor == "postgresql"
ON_MYSQL = connection.vendor == "mysql"
ON_SQLITE = connection.vendor == "sqlite"

no_sessions = pytest.mark.skipif(ON_SQLITE, reason="SQLite has no sessions that could be ended")
several_writers = pytest.mark.skipif(ON_SQLITE, reason="SQLite has one writer at a time")

lends_its_session = pytest.mark.skipif(
    not trouble.is_psycopg3(connection), reason="only psycopg 3 lends its session to a block"
)

pytestmark = pytest.mark.django_db(transaction=True)

Run = Callable[[Job], Job]


FORMS = [
    "one by one",
    *(["coalesced"] if not ON_SQLITE else []),
    *(["prepared"] if ON_POSTGRES else []),
]


@pytest.fixture(params=FORMS, autouse=True)
def form(request: pytest.FixtureRequest, settings: Any) -> Iterator[Any]:
    """How the transaction travels, if it is not a TestCase's."""
    settings.ASYNC = {"COALESCE": request.param != "one by one"}
    if request.param == "prepared":
        plans.begin()
        for _ in range(2):  # the second one finds what the first one wanted
            schedule("builtins.abs", [1]).execute()
        Job.objects.all().delete()
    yield request.param
    plans.give_up()


@pytest.fixture(params=WAYS)
def run(request: pytest.FixtureRequest, flush: Callable[..., Any]) -> Run:
    """Attempt the job once, and return it as it is then."""
    return partial(attempt, way=request.param, flush=flush)


def test_effects_children_result_and_mark_come_together(run: Run) -> None:
    job = run(schedule(jobs.parent, [2]))
    assert job.state == "executed"
    assert job.result == "null"
    assert (job.attempts, job.priority, job.errors.count()) == (1, 5, 0)
    assert notes() == ["parent"]
    assert Job.objects.pending().filter(name="suite.jobs.note").count() == 2


def test_a_job_runs_between_its_start_and_its_end(run: Run) -> None:
    before = clock.now("default")
    job = run(schedule(jobs.nothing))
    assert job.started is not None
    assert job.executed is not None
    assert before <= job.started <= job.executed <= clock.now("default")


ABUSES = {
    abuse.exit_politely: "SystemExit(3)",
    abuse.interrupt: "KeyboardInterrupt()",
    abuse.raise_no_error: "NoError('neither')",
    abuse.raise_unspeakable: "UnspeakableError",
    abuse.raise_deadly: "DeadlyError",
    abuse.raise_ring: "ValueError('first')",
    abuse.return_a_set: "TypeError('Object of type set is not JSON serializable",
    abuse.return_nan: "ValueError('Out of range float values are not JSON compliant",
    abuse.return_abyss: "ValueError('Circular reference",
    abuse.break_foreign_key: "IntegrityError",
    abuse.set_rollback: "MarkedForRollback",
    abuse.swallow_orm_error: "MarkedForRollback",
    abuse.close_connection: "ConnectionClosed",
    abuse.rollback: "TransactionEnded",
    abuse.open_durable_block: "RuntimeError('A durable atomic block",
    abuse.leave_block_open: "TransactionOpen",
    abuse.leave_blocks_open_and_fail: "RuntimeError('and failed')",
    abuse.leave_too_many_blocks: "TransactionEnded",
    abuse.delete_itself: "JobRowGone",
    abuse.delete_itself_and_silence_selects: "JobRowGone",
    abuse.finish_itself: "JobRowGone",
}


# A raw ROLLBACK leaves SQLite in autocommit: what comes after it is committed, before it is undone.
@pytest.mark.parametrize("function", ABUSES, ids=lambda function: function.__name__)
def test_a_job_that_fails_leaves_its_error_and_no_effects(
    run: Run, function: Callable[..., Any]
) -> None:
    job = run(schedule(function))
    assert_one_failure(job, ABUSES[function])
    assert_no_effects()


TABLES = ("async_job", "async_error")


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A place with tables of the queue of its own: a tenant's, say."""
    here, place, kind = "public.", "elsewhere", "SCHEMA"
    if ON_MYSQL:
        here, kind = "", "DATABASE"
        place = f"{connection.settings_dict['NAME']}_elsewhere"
    like = "(LIKE {} INCLUDING ALL)" if ON_POSTGRES else "LIKE {}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE {kind} {place}")
        for table in TABLES:
            cursor.execute(f"CREATE TABLE {place}.{table} {like.format(here + table)}")
    yield place
    with connection.cursor() as cursor:
        cursor.execute(f"DROP {kind} {place}" + (" CASCADE" if ON_POSTGRES else ""))


def copy_jobs(place: str) -> None:
    """Have jobs of the same ids there."""
    columns = ", ".join(str(field.column) for field in Job._meta.local_concrete_fields)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {place}.async_job ({columns}) SELECT {columns} FROM async_job")


def assert_untouched(place: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT executed, attempts, started FROM {place}.async_job")
        assert list(cursor.fetchall()) == [(None, 0, None)]
        cursor.execute(f"SELECT COUNT(*) FROM {place}.async_error")
        assert cursor.fetchone() == (0,)


one_place = pytest.mark.skipif(ON_SQLITE, reason="a name is that of one table there")


@one_place
@pytest.mark.parametrize(
    ("function", "error"),
    [
        (abuse.go_elsewhere, "JobRowGone"),
        (abuse.go_elsewhere_and_fail, "ValueError('elsewhere')"),
    ],
)
def test_no_other_table_of_jobs_is_marked(
    run: Run, elsewhere: str, function: Callable[..., Any], error: str
) -> None:
    """Of a tenant, say, where the job goes on: there is a job of the same id."""
    job = schedule(function, [elsewhere])
    copy_jobs(elsewhere)
    job = run(job)
    assert_one_failure(job, error)
    assert_no_effects()
    assert_untouched(elsewhere)


@one_place
def test_nor_after_a_job_that_commits_there(run: Run, elsewhere: str) -> None:
    job = schedule(abuse.go_elsewhere_commit_and_fail, [elsewhere])
    copy_jobs(elsewhere)
    assert_one_failure(run(job), "TransactionEnded")
    assert_untouched(elsewhere)


@one_place
@pytest.mark.parametrize("workers", [0, 1])
def test_nor_by_a_job_that_runs_again_after_a_conflict_there(
    flush: Callable[..., Any], elsewhere: str, tmp_path: Any, workers: int
) -> None:
    job = schedule(abuse.go_elsewhere_and_conflict, [elsewhere, str(tmp_path)])
    copy_jobs(elsewhere)
    assert flush(workers=workers).status == 0
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("executed", 1)
    assert notes() == ["again"]
    assert_untouched(elsewhere)


@one_place
@pytest.mark.parametrize(
    "function",
    [abuse.go_elsewhere, abuse.go_elsewhere_and_fail, abuse.go_elsewhere_commit_and_fail],
)
def test_nor_by_a_job_without_a_transaction(
    run: Run, elsewhere: str, function: Callable[..., Any]
) -> None:
    job = schedule(function, [elsewhere], meta={"atomic": False})
    copy_jobs(elsewhere)
    job = run(job)
    assert job.state == ("executed" if function is abuse.go_elsewhere else "failed")
    assert job.attempts == 1
    assert_untouched(elsewhere)


@pytest.fixture
def no_chinese() -> Iterator[None]:
    """A database whose errors have no Chinese characters."""
    make, undo = ["ALTER TABLE async_error MODIFY exception longtext CHARACTER SET {} NOT NULL"] * 2
    if ON_POSTGRES:
        make = (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.exception ~ '[^ -~]' THEN RAISE SQLSTATE '22P05'; END IF; RETURN NEW; END $$;"
            " CREATE TRIGGER refuse BEFORE INSERT ON async_error"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
        undo = "DROP FUNCTION refuse CASCADE"
    elif ON_SQLITE:
        make = (
            "CREATE TRIGGER refuse BEFORE INSERT ON async_error"
            " WHEN NEW.exception GLOB '*[^ -~]*' BEGIN SELECT RAISE(ABORT, 'no characters'); END"
        )
        undo = "DROP TRIGGER refuse"
    with connection.cursor() as cursor:
        cursor.execute(make.format("latin1"))
    yield
    with connection.cursor() as cursor:
        cursor.execute(undo.format("utf8mb4"))


@pytest.mark.usefixtures("no_chinese")
def test_an_error_of_which_the_database_lacks_characters_is_kept_escaped(run: Run) -> None:
    job = run(schedule(abuse.raise_in_chinese))
    assert_one_failure(job, r"ValueError('\u6f22\u5b57')")
    assert_no_effects()


def test_a_failure_is_not_recorded_outside_of_a_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a job that has left the queue's own block nobody holds the row any more."""
    inside: list[bool] = []
    record = store.record

    def look(*args: Any) -> Any:
        inside.append(connection.in_atomic_block)
        return record(*args)

    monkeypatch.setattr(store, "record", look)
    with pytest.raises(TransactionEnded):
        schedule(abuse.leave_too_many_blocks).execute()
    assert inside == [True]


LEFT_OPEN = {
    abuse.leave_stream: "TransactionOpen",
    abuse.leave_copy_out: "TransactionOpen",
    abuse.leave_copy_in: "TransactionOpen",
    abuse.leave_pipeline: "TransactionOpen",
    abuse.fail_in_stream: "ValueError('in a stream')",
}


@lends_its_session
@pytest.mark.parametrize("function", LEFT_OPEN, ids=lambda function: function.__name__)
def test_a_job_that_leaves_a_statement_open_fails_at_once(
    flush: Callable[..., Any], function: Callable[..., Any]
) -> None:
    """Any other statement of its session would wait for ever: here until the worker is killed."""
    job = schedule(function, meta={"timeout": 5})
    assert flush(workers=1).status == 1
    assert_one_failure(Job.objects.get(), LEFT_OPEN[function])
    assert_no_effects()
    assert job.errors.get().worker


@no_sessions
@pytest.mark.parametrize("function", [abuse.end_own_session, abuse.lose_session])
def test_a_job_whose_session_is_ended_leaves_its_error_and_no_effects(
    run: Run, function: Callable[..., Any]
) -> None:
    job = run(schedule(function))
    assert_one_failure(job)
    assert_no_effects()


@no_sessions
def test_a_job_whose_session_is_ended_is_not_said_to_have_committed(run: Run) -> None:
    job = run(schedule(abuse.lose_session))
    assert "COMMIT" not in job.errors.get().exception


@pytest.mark.parametrize("function", [abuse.commit, abuse.commit_and_raise])
def test_the_error_of_a_job_that_commits_says_that_its_effects_stay(
    run: Run, function: Callable[..., Any]
) -> None:
    job = run(schedule(function))
    [error] = job.errors.all()
    assert_one_failure(job)
    assert "effects up to a COMMIT were committed" in error.exception + error.traceback
    assert notes() == ["committed by the job"]


@pytest.mark.skipif(not ON_POSTGRES, reason="only psycopg begins another transaction then")
def test_what_a_job_does_after_its_own_commit_is_undone(run: Run) -> None:
    assert_one_failure(run(schedule(abuse.commit_and_go_on)), "TransactionEnded")
    assert notes() == ["committed by the job"]
    assert Job.objects.count() == 1


@pytest.mark.skipif(not ON_MYSQL, reason="data definition is part of the transaction elsewhere")
def test_data_definition_commits_on_mysql_and_is_a_failure(run: Run) -> None:
    assert_one_failure(run(schedule(abuse.define_data)), "TransactionEnded")
    assert notes() == ["committed by the job"]


@pytest.mark.skipif(ON_MYSQL, reason="data definition commits there")
def test_data_definition_is_part_of_the_transaction(run: Run) -> None:
    assert run(schedule(abuse.define_data)).state == "executed"


@pytest.mark.skipif(not ON_POSTGRES, reason="see the next test")
def test_a_swallowed_cursor_error_is_a_failure_on_postgresql(run: Run) -> None:
    assert_one_failure(run(schedule(abuse.swallow_cursor_error)), "MarkedForRollback")
    assert_no_effects()


@pytest.mark.skipif(ON_POSTGRES, reason="see the test before")
def test_a_swallowed_cursor_error_undoes_its_own_statement_elsewhere(run: Run) -> None:
    assert run(schedule(abuse.swallow_cursor_error)).state == "executed"
    assert notes() == ["before", "after"]


def test_an_error_that_an_inner_block_undid_may_be_swallowed(run: Run) -> None:
    assert run(schedule(abuse.swallow_inner_orm_error)).state == "executed"
    assert notes() == ["before", "after"]


def test_savepoints_and_their_hooks_work_as_in_any_transaction(run: Run) -> None:
    job = run(schedule(abuse.nest))
    assert job.result == '["kept"]'
    assert notes() == ["kept", "hook of what was kept"]
    assert Job.objects.count() == 1


@pytest.mark.skipif(not ON_POSTGRES, reason="only PostgreSQL has cursors of the server's")
def test_a_cursor_of_the_servers_may_lock_what_it_reads(run: Run) -> None:
    Account.objects.create(name="locked", balance=1)
    job = run(schedule(jobs.locks_by_cursor))
    assert (job.state, job.result) == ("executed", "1")


def test_an_effect_of_one_failure_is_not_found_by_the_next_job(run: Run) -> None:
    for function in ABUSES:
        run(schedule(function, priority=9))
    assert run(schedule(jobs.note)).state == "executed"
    assert notes() == ["noted"]


def test_large_arguments_and_results_go_through(run: Run) -> None:
    assert run(schedule(abuse.big, ["x" * 1_000_000])).result == "1000000"
    assert len(run(schedule(abuse.return_text, [1_000_000])).result) == 1_000_002


@pytest.mark.skipif(not ON_MYSQL, reason="only MySQL limits the size of a statement")
def test_a_result_that_the_server_refuses_is_a_failure(run: Run) -> None:
    job = run(schedule(abuse.return_text, [20_000_000]))
    assert_one_failure(job)


def test_commit_hooks_run_in_order_after_the_commit_whatever_one_of_them_does(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    job = run(schedule(abuse.hook, ["first", "fail", "second", "exit", "third"]))
    assert (job.state, job.errors.count()) == ("executed", 0)
    assert notes() == ["an effect", "first", "second", "third"]


@pytest.mark.parametrize("workers", [0])
def test_a_failing_commit_hook_is_logged_with_its_traceback(
    flush: Callable[..., Any], caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    schedule(abuse.hook, ["fail"])
    assert flush(workers=workers).status == 0
    [record] = caplog.records
    assert record.name.startswith("django_async")
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "suite.abuse.hook('fail')" in record.getMessage()
    assert "a failing hook" in caplog.text


def test_commit_hooks_of_a_failed_job_never_run(run: Run) -> None:
    assert_one_failure(run(schedule(abuse.hook_and_fail)))
    assert run(schedule(jobs.nothing)).state == "executed"
    assert not notes()


@pytest.fixture
def _new_connection() -> Iterator[None]:
    """Whatever a test does to its connection, the next one gets another."""
    yield
    connection.close()
    connection.connect()


@pytest.mark.usefixtures("_new_connection")
@pytest.mark.parametrize(
    "what",
    [
        "a transaction",
        "autocommit off",
        "a closed connection",
        pytest.param("a lost session", marks=no_sessions),
        pytest.param("a stream", marks=lends_its_session),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_the_next_job_does_not_suffer_from_what_a_hook_left_behind(
    flush: Callable[..., Any], what: str, workers: int
) -> None:
    schedule(abuse.hook_that_leaves, [what], priority=9)
    schedule(jobs.note)
    assert flush(workers=workers).status == 0
    connection.close()  # what is not committed is gone
    assert notes() == ["noted"]
    assert Job.objects.executed().count() == 2


@pytest.fixture
def cut_off_after_commit(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends the session once it has committed, before all of its answers are there."""
    end = "SELECT pg_terminate_backend(pg_backend_pid())" if ON_POSTGRES else "KILL CONNECTION_ID()"
    for each in (roundtrips.OnPostgreSQL, roundtrips.OnMySQL):
        monkeypatch.setattr(each, "commit", ("COMMIT", end, "SELECT 1"))
    wrapper: Any = type(connections["default"])
    commit, ends = wrapper._commit, itertools.count()

    def commit_and_end(self: Any) -> None:
        commit(self)
        if ON_MYSQL and not next(ends):
            abuse.end_session_from_outside()

    if form == "one by one":
        monkeypatch.setattr(wrapper, "_commit", commit_and_end)


@no_sessions
@pytest.mark.usefixtures("cut_off_after_commit", "_new_connection")
@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_committed_is_executed_and_has_its_hooks_though_the_session_ends_there(
    flush: Callable[..., Any], workers: int
) -> None:
    job = schedule(abuse.hook, ["a hook"])
    flushed = flush(workers=workers)
    assert (flushed.status, flushed.output[:21]) == (0, "1 executed, 0 failed,")
    job.refresh_from_db()
    assert (job.state, job.attempts, job.errors.count()) == ("executed", 1, 0)
    assert notes() == ["an effect", "a hook"]


@no_sessions
@pytest.mark.usefixtures("cut_off_after_commit", "_new_connection")
def test_execute_returns_the_result_of_what_is_committed() -> None:
    assert schedule(jobs.note, ["text"]).execute() == "text"


@several_writers
def test_racing_jobs_lock_and_create_rows_as_any_code_does(
    flush: Callable[..., Any], tmp_path: Any
) -> None:
    for _ in range(3):
        schedule(abuse.deposit, ["shared", str(tmp_path), 3])
    assert flush(workers=3).status == 0
    assert Account.objects.get().balance == 3


def test_execute_returns_what_the_job_returned_and_raises_what_it_raised() -> None:
    assert schedule(jobs.note, ["text"]).execute() == "text"
    with pytest.raises(ValueError, match="reason"):
        schedule(jobs.fail, ["reason"]).execute()
    with pytest.raises(SystemExit):
        schedule(abuse.exit_politely).execute()


def test_execute_runs_a_job_before_its_time() -> None:
    job = schedule(jobs.note, run_after=timedelta(days=1))
    job.execute()
    assert job.state == "executed"


def test_execute_refuses_a_job_that_has_ended() -> None:
    job = schedule(jobs.note)
    job.execute()
    with pytest.raises(JobNotRunnable, match="executed"):
        job.execute()
    with pytest.raises(JobNotRunnable):
        Job.objects.get().execute()
    assert notes() == ["noted"]


def test_execute_refuses_to_run_inside_an_open_transaction() -> None:
    job = schedule(jobs.note)
    with transaction.atomic(), pytest.raises(JobNotRunnable, match="outermost"):
        job.execute()
    assert not notes()


@pytest.mark.usefixtures("_new_connection")
def test_execute_refuses_to_run_where_nobody_would_commit() -> None:
    job = schedule(jobs.note)
    transaction.set_autocommit(False)
    with pytest.raises(JobNotRunnable):
        job.execute()


def test_a_job_cannot_execute_another_one(run: Run) -> None:
    other = schedule(jobs.note, run_after=timedelta(days=1))
    job = run(schedule(abuse.execute, [other.pk]))
    assert_one_failure(job, "JobNotRunnable")
    assert not notes()


@pytest.mark.django_db(transaction=False)
def test_inside_a_test_case_jobs_are_executed_the_ordinary_way(flush: Callable[..., Any]) -> None:
    assert schedule(abuse.hook, ["a hook"]).execute() is None
    schedule(jobs.parent)
    assert flush().status == 0
    assert flush().status == 0
    assert notes() == ["an effect", "a hook", "parent", "child 0"]


@pytest.mark.django_db(transaction=False)
@pytest.mark.parametrize(
    "function",
    [
        abuse.exit_politely,
        abuse.return_a_set,
        abuse.set_rollback,
        abuse.swallow_orm_error,
        abuse.finish_itself,
        abuse.delete_itself,
    ],
)
def test_inside_a_test_case_a_failing_job_leaves_its_error_and_no_effects(
    flush: Callable[..., Any], function: Callable[..., Any]
) -> None:
    job = schedule(function)
    assert flush().status == 1
    assert_one_failure(Job.objects.get(pk=job.pk), ABUSES[function])
    assert_no_effects()


def test_an_error_is_deleted_with_its_job(run: Run) -> None:
    job = run(schedule(jobs.fail))
    job.delete()
    assert not Error.objects.exists()
