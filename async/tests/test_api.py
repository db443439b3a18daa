"""schedule(): what it takes, what it refuses, and that it is part of the caller's transaction."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from django_async import clock, schedule
from django_async.models import Group, Job
from suite import calls
from suite.calls import Clerk, Trainee

pytestmark = pytest.mark.django_db

PLAIN = "suite.calls.plain"
NOON = datetime(2031, 7, 1, 12, 30, 15, 123456)


def stored(job: Job) -> Job:
    """The job as the database has it."""
    return Job.objects.get(pk=job.pk)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (PLAIN, PLAIN),
        (calls.plain, PLAIN),
        (Clerk.of_class, "suite.calls.Clerk.of_class"),
        (Trainee.of_class, "suite.calls.Trainee.of_class"),
        (Clerk.static, "suite.calls.Clerk.static"),
        (Clerk.Drawer.static, "suite.calls.Clerk.Drawer.static"),
        (Clerk, "suite.calls.Clerk"),
        (len, "builtins.len"),
        ("len", "len"),
        ("builtins.len", "builtins.len"),
        ("async.api.remove_old_jobs", "django_async.api.remove_old_jobs"),
        ("not.there.yet", "not.there.yet"),
    ],
)
def test_a_function_is_stored_as_its_path(function: Any, name: str) -> None:
    assert stored(schedule(function)).name == name


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (calls.plain, [1], [[1], {}]),
        (Trainee.of_class, ["x"], "Trainee"),
        (Clerk.static, ["x"], "x"),
        (Clerk.Drawer.static, [], "drawer"),
        (len, ["four"], 4),
        ("len", ["four"], 4),
    ],
)
def test_every_kind_of_function_can_be_run(function: Any, args: list[Any], result: Any) -> None:
    assert schedule(function, args).execute() == result


@pytest.mark.parametrize(
    "function",
    [
        calls.anonymous,
        calls.nested(),
        calls.clerk.of_instance,
        calls.clerk,
        calls.prepared,
        [].append,
        42,
        None,
        "",
        "two words.here",
        "bare",
        "eval",
        "shop.__class__",
        "shop..send",
        ".shop",
        "shop.",
    ],
)
def test_what_no_path_leads_to_is_refused(function: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        schedule(function)
    assert not Job.objects.exists()


@pytest.mark.parametrize("args", [[1, "two", None, 3.5, True], (1, "two", None, 3.5, True)])
def test_args_are_a_list_or_a_tuple(args: Any) -> None:
    job = schedule(calls.plain, args, {"key": {"deep": [1]}})
    assert json.loads(stored(job).args) == [1, "two", None, 3.5, True]
    assert job.execute() == [[1, "two", None, 3.5, True], {"key": {"deep": [1]}}]


def test_tuples_inside_arguments_come_back_as_lists() -> None:
    assert schedule(calls.plain, [(1, (2,))]).execute() == [[[1, [2]]], {}]


def test_without_arguments_there_are_none() -> None:
    job = stored(schedule(calls.plain))
    assert (job.args, job.kwargs, job.meta, job.priority, job.queue) == (
        *("[]", "{}", "{}"),
        *(5, "default"),
    )
    assert (job.scheduled, job.started, job.executed, job.group, job.attempts) == (
        *(None, None, None, None),
        0,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"args": "abc"}, "args"),
        ({"args": {"a": 1}}, "args"),
        ({"args": 5}, "args"),
        ({"args": iter([1])}, "args"),
        ({"args": [1, {2}]}, "args[1]"),
        ({"args": [[1, [object()]]]}, "args[0][1][0]"),
        ({"args": [float("nan")]}, "args[0]"),
        ({"args": [{"a": float("inf")}]}, "args[0]['a']"),
        ({"args": [{1: 2}]}, "args[0]"),
        ({"args": [b"bytes"]}, "args[0]"),
        ({"args": [Decimal("1.1")]}, "args[0]"),
        ({"args": [date(2030, 1, 1)]}, "args[0]"),
        ({"args": [uuid4()]}, "args[0]"),
        ({"args": [lambda: None]}, "args[0]"),
        ({"args": [1 + 2j]}, "args[0]"),
        ({"kwargs": [("a", 1)]}, "kwargs"),
        ({"kwargs": {"a": {1}}}, "kwargs['a']"),
        ({"kwargs": {1: 1}}, "kwargs"),
        ({"kwargs": "a"}, "kwargs"),
        ({"meta": {"x": object()}}, "meta['x']"),
        ({"meta": [1]}, "meta"),
        ({"meta": {"max_attempts": 0}}, "max_attempts"),
        ({"meta": {"max_attempts": "3"}}, "max_attempts"),
        ({"meta": {"max_attempts": True}}, "max_attempts"),
        ({"meta": {"max_attempts": 1.5}}, "max_attempts"),
        ({"meta": {"backoff": -1}}, "backoff"),
        ({"args": [1, {"a": 10**5000}]}, "args[1]['a']"),
        ({"meta": {"backoff": True}}, "backoff"),
        ({"meta": {"backoff": [1]}}, "backoff"),
        ({"meta": {"backoff": "no path"}}, "no path"),
        ({"meta": {"atomic": "no"}}, "atomic"),
        ({"run_after": "tomorrow"}, "run_after"),
        ({"run_after": 60}, "run_after"),
        ({"run_after": date(2030, 1, 1)}, "run_after"),
        ({"run_after": timedelta.max}, "run_after"),
        ({"run_after": timedelta.min}, "run_after"),
        ({"run_after": datetime.max}, "run_after"),
        (
            {"run_after": datetime.max.replace(tzinfo=timezone.get_fixed_timezone(-300))},
            "run_after",
        ),
        ({"run_after": datetime.min.replace(tzinfo=timezone.get_fixed_timezone(300))}, "run_after"),
        ({"priority": "high"}, "priority"),
        ({"priority": 1.0}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": None}, "priority"),
        ({"priority": 2**31}, "priority"),
        ({"priority": -(2**31) - 1}, "priority"),
        ({"queue": ""}, "queue"),
        ({"queue": None}, "queue"),
        ({"queue": "q" * 101}, "queue"),
        ({"group": ""}, "group"),
        ({"group": 7}, "group"),
        ({"group": Group(reference="not saved")}, "group"),
        ({"group": "g" * 256}, "group"),
        ({"function": "m." + "f" * 254}, "name"),
    ],
)
def test_a_refusal_names_the_argument_and_writes_nothing(
    arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        schedule(**{"function": PLAIN, **arguments})
    assert named in str(refusal.value)
    assert not Job.objects.exists()
    assert not Group.objects.exists()


def test_the_last_days_of_the_calendar_can_be_waited_for(flush: Callable[..., Any]) -> None:
    moment = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
    assert stored(schedule(PLAIN, run_after=moment)).scheduled == moment
    assert flush().output.startswith("0 executed")


def test_arguments_that_contain_themselves_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="args"):
        schedule(PLAIN, endless)


@pytest.mark.parametrize(
    "text", ["Größe 東京 😀", 'it\'s "so" \\ 100%\n\tend', "\0", "\ud800", "%s %(a)s {}"], ids=ascii
)
def test_any_text_arrives_as_it_was(text: str) -> None:
    job = schedule(calls.plain, [text], {"key": text})
    assert stored(job).execute() == [[text], {"key": text}]


def test_whole_numbers_of_any_size_arrive_as_they_were() -> None:
    assert schedule(calls.plain, [2**70, -0.0, 1e-300]).execute() == [[2**70, -0.0, 1e-300], {}]


def test_an_aware_moment_is_stored_as_it_is() -> None:
    moment = NOON.replace(tzinfo=UTC)
    with timezone.override("Asia/Tashkent"):
        assert stored(schedule(PLAIN, run_after=moment)).scheduled == moment


def test_a_naive_moment_is_in_the_current_time_zone() -> None:
    with timezone.override("Asia/Tashkent"):  # at UTC+5, all year
        job = schedule(PLAIN, run_after=NOON)
    assert stored(job).scheduled == NOON.replace(tzinfo=UTC) - timedelta(hours=5)


@pytest.mark.parametrize("delta", [timedelta(hours=3), timedelta(days=-1)])
def test_a_timedelta_counts_from_the_databases_now(delta: timedelta) -> None:
    before = clock.now("default")
    scheduled = stored(schedule(PLAIN, run_after=delta)).scheduled
    assert scheduled is not None
    assert before + delta <= scheduled <= clock.now("default") + delta


@pytest.mark.skipif(connection.vendor == "sqlite", reason="its clock is this process's")
def test_what_is_due_does_not_depend_on_the_clock_of_this_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(1999, 1, 1, tzinfo=UTC))
    past, future = (schedule(PLAIN, run_after=timedelta(hours=by)) for by in (-1, 1))
    assert list(Job.objects.due()) == [past]
    assert list(Job.objects.waiting()) == [future]
    moment = stored(future).scheduled
    assert moment is not None
    assert moment > datetime(2020, 1, 1, tzinfo=UTC)


def test_a_moment_of_the_past_is_due_and_one_of_the_future_is_not() -> None:
    past = schedule(PLAIN, run_after=timedelta(seconds=-1))
    future = schedule(PLAIN, run_after=timedelta(hours=1))
    assert (past.state, future.state) == ("due", "scheduled")
    assert list(Job.objects.due()) == [past]
    assert list(Job.objects.waiting()) == [future]


@pytest.mark.parametrize("priority", [-(2**31), -3, 0, 2**31 - 1])
def test_a_priority_is_any_number_of_32_bits(priority: int) -> None:
    assert stored(schedule(PLAIN, priority=priority)).priority == priority


def test_positional_arguments_are_in_the_order_of_0_7_3() -> None:
    job = stored(schedule(PLAIN, [1], {"k": 2}, NOON.replace(tzinfo=UTC), {"m": 3}, 4))
    assert (job.args, job.kwargs, job.meta, job.priority) == ("[1]", '{"k": 2}', '{"m": 3}', 4)
    assert job.scheduled == NOON.replace(tzinfo=UTC)


def test_a_queue_is_a_name() -> None:
    assert stored(schedule(PLAIN, queue="mail")).queue == "mail"


@pytest.mark.parametrize(
    "meta",
    [
        {"max_attempts": 1},
        {"max_attempts": 10, "backoff": 0},
        {"backoff": 2.5},
        {"backoff": "suite.calls.plain"},
        {"atomic": True},
        {"asked by": "Zoë", "shelf": [1, {"deep": None}]},
        {},
    ],
    ids=str,
)
def test_meta_is_kept_without_a_word(meta: dict[str, Any], caplog: Any) -> None:
    assert json.loads(stored(schedule(PLAIN, meta=meta)).meta) == meta
    assert not caplog.records


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("max_attempt", "max_attempts"), ("back_off", "backoff"), ("atomc", "atomic")],
)
def test_a_typo_in_meta_is_kept_and_reported(typo: str, meant: str, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "django_async"):
        job = schedule(PLAIN, meta={typo: 1})
    assert json.loads(stored(job).meta) == {typo: 1}
    [record] = caplog.records
    assert typo in record.getMessage()
    assert meant in record.getMessage()
    assert record.__dict__["job_name"] == PLAIN


def test_a_group_is_given_by_itself_or_by_its_reference() -> None:
    group = Group.objects.create(reference="orders")
    assert schedule(PLAIN, group=group).group == group
    assert schedule(PLAIN, group="orders").group == group
    other = schedule(PLAIN, group="stock").group
    assert other is not None
    assert (other.reference, other.pk == group.pk) == ("stock", False)


def test_a_group_that_takes_no_more_jobs_is_a_refusal() -> None:
    group = Group.objects.create(reference="orders")
    schedule(calls.plain, group=group).execute()
    with pytest.raises(ValidationError):
        schedule(PLAIN, group=group)
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_caller_has_scheduled_nothing() -> None:
    with transaction.atomic():
        schedule(PLAIN, group="orders")
        transaction.set_rollback(True)
    assert not Job.objects.exists()
    assert not Group.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_job_is_there_when_its_caller_commits(flush: Callable[..., Any]) -> None:
    with transaction.atomic():
        job = schedule(calls.plain)
        with transaction.atomic():
            schedule(calls.plain)
            transaction.set_rollback(True)
    assert flush().output.startswith("1 executed")
    assert [job.pk for job in Job.objects.executed()] == [job.pk]


@pytest.mark.django_db(transaction=True)
def test_what_a_failing_job_scheduled_vanishes(flush: Callable[..., Any]) -> None:
    failing, running = schedule(calls.schedules_and_fails, ["x"]), schedule(calls.schedules, ["y"])
    flush(keep_going=True)
    others = Job.objects.exclude(pk__in=[failing.pk, running.pk])
    assert sorted(json.loads(job.args)[0] for job in others) == ["y", "y 0", "y 1"]


def test_a_refusal_leaves_the_callers_transaction_whole() -> None:
    assert "args[0]" in schedule(calls.swallows_the_refusal).execute()


@override_settings(USE_TZ=False, TIME_ZONE="Asia/Tashkent")
@pytest.mark.parametrize("run_after", [NOON, NOON.replace(tzinfo=UTC) - timedelta(hours=5)])
def test_without_time_zones_a_moment_is_a_naive_one_of_the_default_zone(
    run_after: datetime,
) -> None:
    assert stored(schedule(PLAIN, run_after=run_after)).scheduled == NOON


@override_settings(USE_TZ=False, TIME_ZONE="Asia/Tashkent")
def test_without_time_zones_jobs_come_due_and_are_stamped_by_the_wall_clock(
    flush: Callable[..., Any],
) -> None:
    before = datetime.now() - timedelta(minutes=1)
    past, future = (schedule(PLAIN, run_after=timedelta(minutes=by)) for by in (-1, 1))
    assert list(Job.objects.due()) == [past]
    flush()
    done = stored(past)
    assert done.executed is not None
    assert done.started is not None
    assert before < done.started <= done.executed < before + timedelta(minutes=2)
    assert stored(future).state == "scheduled"
