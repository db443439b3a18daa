"""Tasks of Django's framework: what is called, what becomes of it, and what the signals tell."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import django
import pytest
from django.db import connection
from django.test import TestCase

from django_async import errors
from django_async.hints import Hint
from django_async.inquest import Inquest
from django_async.models import Job
from django_async.tasks import testing
from django_async.tasks.framework import (
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from forkpool import WorkerDied
from suite import controlled, tasks
from suite.attempts import notes
from suite.models import Note
from suite.together import DEADLINE, beside, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

READY, RUNNING = TaskResultStatus.READY, TaskResultStatus.RUNNING
FAILED, SUCCESSFUL = TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL
PATH = "django_async.tasks.AsyncBackend"
LOGGER = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"

Flush = Callable[..., Any]


@pytest.fixture(autouse=True)
def _cleared() -> None:
    tasks.calls.clear()
    controlled.forget_begun()


def run_one() -> Any:
    [result] = testing.run_tasks()
    return result


class TestOutcomes:
    def test_a_task_is_run_and_its_value_kept(self) -> None:
        result = tasks.add.enqueue(1, two=2)
        run_one()
        result.refresh()
        assert (result.status, result.return_value, result.attempts) == (SUCCESSFUL, 3, 1)
        assert result.enqueued_at is not None
        assert result.started_at is not None
        assert result.finished_at is not None
        assert result.enqueued_at <= result.started_at <= result.finished_at
        assert result.last_attempted_at == result.started_at
        assert result.worker_ids[0].rpartition(":")[2].isdigit()

    def test_a_coroutine_is_run_to_its_end(self) -> None:
        tasks.later.enqueue((1, 2))
        assert run_one().return_value == [1, 2]

    def test_what_it_enqueues_goes_with_its_transaction(self) -> None:
        tasks.enqueue_one.enqueue()
        assert [result.status for result in testing.run_tasks()] == [SUCCESSFUL] * 2
        assert notes() == ["a child's"]

    def test_its_context_is_its_own_result(self) -> None:
        result = tasks.see.enqueue()
        assert run_one().return_value == [1, result.id, "RUNNING", "RUNNING", 1]

    def test_without_more_an_exception_is_final_and_leaves_no_effects(self) -> None:
        tasks.fail.enqueue("really")
        result = run_one()
        [error] = result.errors
        assert (result.status, result.attempts) == (FAILED, 1)
        assert error.exception_class is ValueError
        assert error.traceback.startswith("Discarded after 1 attempt.\n")
        assert error.traceback.endswith("ValueError: really\n")
        assert result.finished_at is not None
        with pytest.raises(ValueError, match="Task failed"):
            _ = result.return_value
        assert not notes()

    def test_a_task_that_waits_for_a_retry_is_ready_and_has_its_errors(self) -> None:
        tasks.thrice.enqueue()
        first, second, third = run_one(), run_one(), run_one()
        assert [one.status for one in (first, second, third)] == [READY, READY, FAILED]
        assert [len(one.errors) for one in (first, second, third)] == [1, 2, 3]
        assert [one.attempts for one in (first, second, third)] == [1, 2, 3]
        assert third.started_at == first.started_at
        assert third.last_attempted_at > second.last_attempted_at > first.last_attempted_at
        assert third.errors[-1].traceback.startswith("Discarded after 3 attempts.\n")
        assert first.finished_at is None
        assert testing.run_tasks() == []

    def test_the_death_of_a_worker_is_no_failure_of_the_task(self, flush: Flush) -> None:
        result = tasks.die.enqueue()
        flush(workers=1)
        result.refresh()
        assert (result.status, result.attempts) == (READY, 1)
        assert result.errors[0].exception_class is WorkerDied
        assert "SIGKILL" in result.errors[0].traceback
        assert result.worker_ids[0].rpartition(":")[2].isdigit()

    def test_a_death_that_uses_up_the_attempts_is_final(self, flush: Flush) -> None:
        result = tasks.die.using(max_attempts=1).enqueue()
        flush(workers=1)
        result.refresh()
        assert (result.status, result.attempts) == (FAILED, 1)

    def test_what_the_operator_cut_short_is_an_error_and_no_attempt(self) -> None:
        tasks.see.enqueue()
        job = Job.objects.get()
        hint = Hint(job.pk, 0, 0, None, None, job.meta)
        Inquest("default", time.monotonic).note_stop(hint)
        result = run_one()
        assert result.return_value is not None
        assert result.return_value[0] == 1
        assert (result.attempts, len(result.errors)) == (1, 1)
        assert result.errors[0].exception_class is errors.StopNow

    def test_outside_of_a_transaction_it_runs_if_it_says_so(self) -> None:
        tasks.outside.enqueue()
        assert run_one().return_value == "False"


class TestRunning:
    @pytest.mark.parametrize("which", ["work", "work_outside"])
    def test_it_is_seen_while_it_runs_and_is_cancelled(self, flush: Flush, which: str) -> None:
        result = getattr(tasks, which).enqueue()
        job = Job.objects.get()
        seen: list[Any] = []

        def look() -> None:
            controlled.wait_for_begin()
            wait_until(lambda: job in Job.objects.running(), "the job's run")
            seen.append(getattr(tasks, which).get_result(result.id))
            job.cancel()

        with beside(look) as looked:
            flush(workers=1)
            looked.result(DEADLINE)
        [running] = seen
        assert (running.status, running.attempts) == (RUNNING, 1)
        assert running.started_at is not None
        result.refresh()
        assert (result.status, result.attempts) == (FAILED, 1)
        assert result.errors[-1].exception_class is errors.Cancelled
        assert result.worker_ids == running.worker_ids


class TestWhatChangedMeanwhile:
    def test_a_name_that_is_no_task_is_refused_before_it_is_called(self) -> None:
        result = tasks.add.enqueue(1)
        Job.objects.update(name="suite.tasks.no_task")
        job = Job.objects.get()
        with pytest.raises(errors.UnknownFunction, match="is function, and no Task"):
            job.execute()
        assert (job.state, tasks.calls) == ("discarded", [])
        with pytest.raises(errors.UnknownFunction, match="is function, and no Task"):
            tasks.add.get_result(result.id)

    def test_a_task_runs_though_its_queue_was_taken_out_of_the_settings(
        self, settings: Any
    ) -> None:
        result = tasks.add.enqueue(1)
        settings.TASKS = {"default": {"BACKEND": PATH, "QUEUES": ["other"]}}
        assert run_one().return_value == 2
        assert tasks.add.get_result(result.id).task.queue_name == "default"

    def test_a_task_runs_though_its_backend_was_taken_out_of_the_settings(
        self, settings: Any
    ) -> None:
        usual = {"BACKEND": PATH}
        settings.TASKS = {"default": usual, "slow": usual}
        tasks.add.using(backend="slow").enqueue(1)
        settings.TASKS = {"default": usual}
        result = run_one()
        assert (result.return_value, result.backend) == (2, "slow")

    def test_a_row_that_somebody_has_broken_fails_with_a_clear_error(self) -> None:
        tasks.add.enqueue(1)
        Job.objects.update(meta='{"django.tasks": {}}')
        assert run_one().return_value == 2


class TestPolicy:
    def test_a_back_off_is_given_the_exception_and_the_result(self) -> None:
        tasks.asks_twice.enqueue()
        assert run_one().status == READY
        assert run_one().status == FAILED
        (first, early), (second, late) = tasks.calls
        assert isinstance(first, KeyError)
        assert isinstance(second, KeyError)
        assert [len(early.errors), len(late.errors), early.attempts, late.attempts] == [1, 2, 1, 2]

    def test_a_back_off_that_fails_is_the_default_one(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        tasks.fail.using(backoff=tasks.wrong_backoff).enqueue()
        with caplog.at_level(logging.ERROR, "django_async"):
            assert run_one().status == READY
        assert "The back-off 'suite.tasks.wrong_backoff' failed" in caplog.text

    def test_a_back_off_is_asked_after_a_death_too(self, flush: Flush) -> None:
        result = tasks.die.using(backoff=tasks.backoff).enqueue()
        for _ in range(2):
            flush(workers=1)
        result.refresh()
        assert (result.status, result.attempts) == (FAILED, 2)
        [(exception, seen)] = tasks.calls
        assert isinstance(exception, errors.AttemptFailed)
        assert "SIGKILL" in str(exception)
        assert seen.attempts == 2

    def test_the_policy_is_in_the_jobs_options_and_in_the_result(self) -> None:
        result = tasks.thrice.enqueue()
        found = tasks.thrice.get_result(result.id).task
        assert found == tasks.thrice
        assert found.metadata == {"owner": "shop"}
        meta = Job.objects.get().meta
        assert all(part in meta for part in ('"max_attempts": 3', '"timeout": 30', '"owner"'))

    def test_the_options_of_the_backend_hold_for_tasks_that_say_nothing(
        self, settings: Any
    ) -> None:
        policy = {"max_attempts": 2, "backoff": 0}
        settings.TASKS = {"default": {"BACKEND": PATH, "OPTIONS": policy}}
        result = tasks.fail.enqueue()
        assert [run_one().status, run_one().status] == [READY, FAILED]
        assert result.task == tasks.fail

    def test_a_task_goes_before_the_options_of_the_backend(self, settings: Any) -> None:
        settings.TASKS = {"default": {"BACKEND": PATH, "OPTIONS": {"max_attempts": 1}}}
        tasks.thrice.enqueue()
        assert run_one().status == READY


@contextmanager
def received(*signals: Any) -> Iterator[list[tuple[str, Any]]]:
    """What is received within the block, in this process."""
    names = {id(task_enqueued): "enqueued", id(task_started): "started"}
    seen: list[tuple[str, Any]] = []

    def receive(signal: Any, sender: type, task_result: Any, **_: Any) -> None:
        assert sender is type(task_backends["default"])
        exception = sys.exception()
        seen.append(
            (
                names.get(id(signal), "finished"),
                (task_result.status, exception, connection.in_atomic_block),
            )
        )

    with ExitStack() as stack:
        for signal in signals:
            signal.connect(receive)
            stack.callback(signal.disconnect, receive)
        yield seen


class TestSignals:
    def test_they_come_in_their_order_and_finished_after_the_commit(self) -> None:
        with received(task_enqueued, task_started, task_finished) as seen:
            tasks.add.enqueue(1)
            run_one()
        assert seen == [
            ("enqueued", (READY, None, False)),
            ("started", (RUNNING, None, True)),
            ("finished", (SUCCESSFUL, None, False)),
        ]

    def test_finished_is_sent_while_the_exception_is_handled(self) -> None:
        tasks.fail.enqueue("handled")
        with received(task_finished) as seen:
            run_one()
        [(_, (status, exception, _))] = seen
        assert status == FAILED
        assert repr(exception) == "ValueError('handled')"

    def test_an_attempt_that_is_to_be_repeated_is_not_finished(self) -> None:
        tasks.thrice.enqueue()
        with received(task_started, task_finished) as seen:
            run_one(), run_one(), run_one()
        assert [name for name, _ in seen] == ["started"] * 3 + ["finished"]

    def test_the_end_of_a_task_whose_worker_died_is_told_by_the_parent(self, flush: Flush) -> None:
        tasks.die.using(max_attempts=1).enqueue()
        with received(task_finished) as seen:
            flush(workers=1)
        [(_, (status, exception, _))] = seen
        assert status == FAILED
        assert isinstance(exception, errors.AttemptFailed)

    def test_a_receiver_that_raises_harms_no_task_and_leaves_nothing(self) -> None:
        def receive(**_: Any) -> None:
            Note.objects.create(text="of a receiver")
            raise ValueError("of a receiver")

        task_started.connect(receive)
        try:
            tasks.note.enqueue("of the task")
            assert run_one().status == SUCCESSFUL
        finally:
            task_started.disconnect(receive)
        assert notes() == ["of the task"]

    def test_a_logger_gets_the_traceback(self, caplog: pytest.LogCaptureFixture) -> None:
        tasks.fail.enqueue("logged")
        with caplog.at_level(logging.DEBUG, LOGGER):
            run_one()
        record = [one for one in caplog.records if one.name == LOGGER][-1]
        assert record.exc_info
        assert repr(record.exc_info[1]) == "ValueError('logged')"


class TestInsideOfATestCase(TestCase):
    """The helpers for tests, in the transaction of Django's plain TestCase."""

    def test_due_tasks_are_run(self) -> None:
        tasks.add.enqueue(1)
        tasks.fail.enqueue("no")
        tasks.outside.enqueue()
        tasks.note.using(run_after=timedelta(hours=1)).enqueue("later")
        results = testing.run_tasks()
        assert [one.status for one in results] == [SUCCESSFUL, FAILED, SUCCESSFUL]
        assert not Note.objects.exists()

    def test_what_was_enqueued_is_looked_at(self) -> None:
        testing.assert_nothing_enqueued()
        tasks.add.enqueue(1, two=2)
        tasks.note.enqueue("hello")
        assert testing.assert_enqueued(tasks.add, 1, two=2).args == [1]
        assert [one.task for one in testing.enqueued()] == [tasks.add, tasks.note]
        assert len(testing.enqueued(tasks.note)) == 1
        testing.assert_nothing_enqueued(tasks.fail)
        with pytest.raises(AssertionError, match=r"suite\.tasks\.add\(1, two=2\)"):
            testing.assert_nothing_enqueued()

    def test_what_was_not_enqueued_is_told_with_what_was(self) -> None:
        tasks.note.enqueue("hello")
        with pytest.raises(AssertionError, match="not at all") as caught:
            testing.assert_enqueued(tasks.note, "goodbye")
        assert "suite.tasks.note('hello')" in str(caught.value)
        tasks.note.enqueue("hello")
        with pytest.raises(AssertionError, match="2 times"):
            testing.assert_enqueued(tasks.note, "hello")

    def test_each_is_attempted_once(self) -> None:
        tasks.thrice.enqueue()
        assert [one.attempts for one in testing.run_tasks()] == [1]
        assert [one.attempts for one in testing.run_tasks()] == [2]
