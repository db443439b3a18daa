"""Tasks of Django's framework: how they are enqueued, and what their results say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.utils import timezone

import django_async.tasks
from django_async import api, errors, schedule
from django_async.models import Job
from django_async.tasks import AsyncTask, task, testing
from django_async.tasks.framework import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
)
from suite import jobs, tasks
from suite.spying import each_statement

pytestmark = pytest.mark.django_db(transaction=True)

READY, FAILED = TaskResultStatus.READY, TaskResultStatus.FAILED
PATH = "django_async.tasks.AsyncBackend"


def backend() -> Any:
    return task_backends["default"]


def options(settings: Any, **options: Any) -> None:
    settings.TASKS = {"default": {"BACKEND": PATH, "OPTIONS": options}}


def run_one() -> Any:
    [result] = testing.run_tasks()
    return result


def test_it_supports_all_that_a_backend_can() -> None:
    names = ("defer", "async_task", "get_result", "priority")
    assert all(getattr(backend(), f"supports_{name}") for name in names)
    assert isinstance(tasks.add, AsyncTask)


def test_a_task_is_enqueued_in_the_callers_transaction() -> None:
    with transaction.atomic():
        result = tasks.add.enqueue(1)
        assert Job.objects.count() == 1
        transaction.set_rollback(True)
    assert not Job.objects.exists()
    with pytest.raises(TaskResultDoesNotExist):
        tasks.add.get_result(result.id)


def test_the_result_is_the_same_when_it_is_looked_up() -> None:
    moment = timezone.now() + timedelta(hours=1)
    variant = tasks.add.using(priority=7, run_after=moment)
    result = variant.enqueue(1, two=2)
    found = tasks.add.get_result(result.id)
    assert found == result
    assert found.task == variant
    assert (found.status, found.args, found.kwargs) == (READY, [1], {"two": 2})
    assert (found.attempts, found.errors, found.worker_ids) == (0, [], [])


@pytest.mark.parametrize("name", ["enqueue", "aenqueue"])
def test_both_ways_of_enqueuing_do_the_same(name: str) -> None:
    enqueue: Callable[..., Any] = getattr(tasks.add, name)
    result = async_to_sync(enqueue)(2, two=3) if name[0] == "a" else enqueue(2, two=3)
    assert run_one().return_value == 5
    assert async_to_sync(tasks.add.aget_result)(result.id).return_value == 5


def test_a_coroutine_may_refresh_a_result() -> None:
    result = tasks.add.enqueue(1)
    run_one()
    async_to_sync(result.arefresh)()
    assert result.return_value == 2


def test_an_id_tells_nothing_about_its_task() -> None:
    ids = [tasks.add.enqueue(1).id for _ in range(3)]
    assert all(UUID(one).version == 4 for one in ids), "which is random"
    assert len(set(ids)) == 3


@pytest.mark.parametrize("wrong", ["", "1", "x" * 32, "0" * 32, "0" * 31 + "\0", "0" * 99, 7, None])
def test_what_is_no_id_leads_to_no_result(wrong: Any) -> None:
    tasks.add.enqueue(1)
    with pytest.raises(TaskResultDoesNotExist):
        backend().get_result(wrong)


def test_an_id_leads_to_no_job_that_is_no_task() -> None:
    job = schedule(jobs.nothing)
    with pytest.raises(TaskResultDoesNotExist):
        backend().get_result(str(job.pk))


def test_a_result_is_looked_up_in_an_index() -> None:
    result = tasks.add.enqueue(1)
    plans: list[str] = []

    def explain(sql: str, params: Any) -> None:
        if "task_id" in sql and "async_job" in sql and sql.startswith("SELECT"):
            with connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute("SET LOCAL enable_seqscan = off")  # which is cheaper on one row
                what = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
                cursor.execute(f"{what} {sql}", params)
                plans.append(str(cursor.fetchall()))

    with transaction.atomic(), each_statement(explain):
        backend().get_result(result.id)
    assert plans
    assert all("async_job_task" in plan for plan in plans), plans


class TestArguments:
    def test_they_are_normalised_as_django_does_it(self) -> None:
        result = tasks.echo.enqueue({"a": (1, b"two", [None, 3.5])})
        assert result.args == [{"a": [1, "two", [None, 3.5]]}]
        assert run_one().return_value == {"a": [1, "two", [None, 3.5]]}

    @pytest.mark.parametrize(
        ("value", "error", "words"),
        [
            (datetime(2026, 1, 1), TypeError, "Unsupported type"),
            (b"\xff", ValueError, "Unsupported value"),
            ({1, 2}, TypeError, "Unsupported type"),
            (float("nan"), ValueError, "args[0] is nan"),
            ([float("inf")], ValueError, "args[0][0] is inf"),
            ({1: 2}, TypeError, "args[0] has the key 1"),
        ],
    )
    def test_what_json_cannot_hold_is_refused_and_nothing_written(
        self, value: Any, error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error) as caught:
            tasks.echo.enqueue(value)
        assert words in str(caught.value)
        assert not Job.objects.exists()

    def test_a_result_that_json_cannot_hold_is_a_failure(self) -> None:
        tasks.raw.enqueue()
        result = run_one()
        assert result.status == FAILED
        assert result.errors[0].exception_class is TypeError
        assert "Unsupported type" in result.errors[0].traceback


class TestValidation:
    def test_a_task_is_validated_again_when_it_is_enqueued(self, settings: Any) -> None:
        variant = tasks.add.using(priority=1)
        settings.TASKS = {"default": {"BACKEND": PATH, "QUEUES": ["other"]}}
        with pytest.raises(InvalidTask, match="Queue 'default' is not valid"):
            variant.enqueue(1)
        assert not Job.objects.exists()

    @pytest.mark.parametrize("priority", [-101, 101, 1.5])
    def test_a_priority_is_from_minus_100_to_100(self, priority: Any) -> None:
        with pytest.raises(InvalidTask, match="between -100 and 100"):
            tasks.add.using(priority=priority)

    def test_only_functions_of_modules_are_tasks(self) -> None:
        with pytest.raises(InvalidTask, match="module level"):
            task(lambda: None)

    @pytest.mark.parametrize(
        ("policy", "words"),
        [
            ({"max_attempts": 0}, "max_attempts must be a whole number from 1"),
            ({"timeout": -1}, "timeout must be a number of seconds above 0"),
            ({"backoff": -1}, "backoff must be a number of seconds from 0"),
            ({"backoff": lambda error, result: 1}, "lambda"),
            ({"metadata": [1]}, "metadata must be a dict"),
            ({"metadata": {1: 2}}, "metadata"),
            ({"atomic": 1}, "atomic must be True, or False"),
        ],
    )
    def test_a_wrong_policy_is_refused_where_the_task_is_defined(
        self, policy: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(InvalidTask, match=words):
            task(**policy)(tasks.add.func)
        with pytest.raises(InvalidTask, match=words):
            tasks.add.using(**policy)

    def test_an_unknown_keyword_is_refused(self) -> None:
        with pytest.raises(TypeError, match="max_retries"):
            task(max_retries=3)(tasks.add.func)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"max_tries": 3}, "unknown 'max_tries'; known are max_attempts, backoff"),
            ({"max_attempts": "3"}, "max_attempts must be a whole number"),
            ({"using": "nowhere"}, "'nowhere', and there is no such database"),
        ],
    )
    def test_wrong_options_are_a_failed_check_and_refuse_tasks(
        self, settings: Any, wrong: dict[str, Any], words: str
    ) -> None:
        options(settings, **wrong)
        [message] = backend().check()
        assert message.id == "async.E003"
        assert words in message.msg
        with pytest.raises(ImproperlyConfigured, match="TASKS"):
            tasks.add.enqueue(1)

    def test_the_check_asks_for_the_application(self, settings: Any) -> None:
        assert backend().check() == []
        settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_async"]
        [message] = backend().check()
        assert message.id == "async.E002"

    def test_a_queues_name_fits_its_column(self, settings: Any) -> None:
        settings.TASKS = {"default": {"BACKEND": PATH, "QUEUES": ["q" * 101]}}
        [message] = backend().check()
        assert "1 to 100 characters" in message.msg


class TestOrderAndTime:
    def test_tasks_run_by_priority_on_one_scale_with_jobs(self) -> None:
        tasks.note.enqueue("usual")
        tasks.note.using(priority=-100).enqueue("lowest")
        tasks.note.using(priority=100).enqueue("highest")
        schedule(jobs.note)
        assert [job.priority for job in Job.objects.in_order()] == [100, 5, 0, -100]

    def test_a_moment_or_a_time_from_now_says_when(self) -> None:
        before = timezone.now()
        tasks.add.using(run_after=before + timedelta(hours=1)).enqueue(1)
        waits: Any = timedelta(hours=2)
        result = tasks.add.using(run_after=waits).enqueue(1)
        first, second = Job.objects.order_by("pk")
        assert first.scheduled == before + timedelta(hours=1)
        assert second.scheduled is not None
        assert timedelta(0) <= second.scheduled - before - waits < timedelta(minutes=1)
        assert result.task.run_after == second.scheduled
        assert tasks.add.get_result(result.id) == result
        assert testing.run_tasks() == []

    def test_a_naive_moment_is_refused(self) -> None:
        with pytest.raises(InvalidTask, match="aware"):
            tasks.add.using(run_after=datetime(2026, 1, 1))

    def test_a_task_that_failed_keeps_its_priority_and_moment_in_its_result(self) -> None:
        moment = timezone.now() - timedelta(hours=1)
        variant = tasks.thrice.using(run_after=moment, priority=-100)
        result = variant.enqueue()
        assert run_one().task == variant
        assert Job.objects.get().priority == -101
        assert result.task == variant


class TestMany:
    def test_many_calls_are_written_in_few_statements(self) -> None:
        sent: list[str] = []
        calls: list[Any] = [((number,), {"two": 1}) for number in range(500)]
        with each_statement(lambda sql, params: sent.append(sql)):
            results = backend().enqueue_many(tasks.add, calls)
        assert len(sent) < 10
        assert [result.args for result in results] == [[number] for number in range(500)]
        assert tasks.add.get_result(results[77].id) == results[77]

    def test_all_are_written_or_none_and_the_wrong_one_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"calls\[1\]: args\[0\] is nan"):
            backend().enqueue_many(tasks.echo, [((1,), {}), ((float("nan"),), {})])
        assert not Job.objects.exists()

    def test_there_may_be_none(self) -> None:
        assert backend().enqueue_many(tasks.echo, []) == []

    def test_a_coroutine_may_do_it(self) -> None:
        results = async_to_sync(backend().aenqueue_many)(tasks.add, [((1,), {}), ((2,), {})])
        assert [result.return_value for result in testing.run_tasks()] == [2, 3]
        assert len(results) == 2


def test_task_enqueued_is_sent_in_the_transaction_and_its_receivers_do_no_harm() -> None:
    seen: list[Any] = []

    def receive(sender: type, task_result: Any, **_: Any) -> None:
        seen.append((sender, task_result.id, connection.in_atomic_block, Job.objects.count()))
        raise ValueError("of a receiver")

    task_enqueued.connect(receive)
    try:
        with transaction.atomic():
            result = tasks.add.enqueue(1)
    finally:
        task_enqueued.disconnect(receive)
    assert seen == [(type(backend()), result.id, True, 1)]
    assert tasks.add.get_result(result.id).status == READY


def test_a_task_is_descheduled_by_its_call() -> None:
    result = tasks.add.enqueue(1, two=2)
    assert api.deschedule("suite.tasks.add", [1], {"two": 2}) == 1
    found = tasks.add.get_result(result.id)
    assert found.status == FAILED
    assert found.errors[0].exception_class is errors.Cancelled
    assert "Cancelled while it waited" in found.errors[0].traceback


def test_allowed_functions_hold_for_tasks(settings: Any) -> None:
    settings.ASYNC = {"ALLOWED_FUNCTIONS": ["shop."]}
    with pytest.raises(errors.FunctionNotAllowed, match=r"suite\.tasks\.add"):
        tasks.add.enqueue(1)
    settings.ASYNC = {"ALLOWED_FUNCTIONS": ["suite.tasks.add"]}
    tasks.add.enqueue(1)
    assert run_one().return_value == 2


def test_the_public_names() -> None:
    assert set(django_async.tasks.__all__) == {"AsyncBackend", "AsyncTask", "task"}
    assert set(testing.__all__) == {
        *("assert_enqueued", "assert_nothing_enqueued", "enqueued", "run_tasks")
    }


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def test_a_decorator_that_runs_before_the_applications_are_ready_loads_no_models() -> None:
    done = run_python(
        "import sys; from django.conf import settings\n"
        f"settings.configure(TASKS={{'default': {{'BACKEND': {PATH!r}}}}})\n"
        "from django_async.tasks import task\n"
        "import types; module = sys.modules['shop'] = types.ModuleType('shop')\n"
        "exec('def send(): ...', module.__dict__)\n"
        "print(task(module.send).using(priority=3).priority, 'django_async.models' in sys.modules)"
    )
    assert done.stdout == "3 False\n", done.stderr


def test_before_django_6_its_absence_says_what_to_install() -> None:
    done = run_python(
        "import sys, django; django.VERSION = (5, 2, 0, 'final', 0)\n"
        "sys.modules['django_tasks'] = None\n"
        "import django_async, django_async.errors\n"
        "import django_async.tasks"
    )
    assert "pip install 'django-async[tasks]'" in done.stderr.splitlines()[-1]
