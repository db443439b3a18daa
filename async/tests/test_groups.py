"""Groups: who joins, when they are over, and the job that runs last."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils import timezone

from django_async import fetch, pending, schedule
from django_async.api import deschedule, schedule_many
from django_async.models import Group, Job
from suite import calls
from suite.jobs import fail, note, nothing
from suite.models import Note
from suite.spying import blocks_read
from suite.testing import run_pass
from suite.together import DEADLINE, before_first_write, beside, elsewhere, wait_for_a_waiter

pytestmark = pytest.mark.django_db

LATER = timedelta(days=1)


@pytest.fixture
def orders() -> Group:
    """A group without jobs."""
    return Group.objects.create(reference="orders", description="Orders of the day")


def schedule_nothing_for_orders() -> Job:
    """Join the group that the reference means now."""
    return schedule(nothing, group="orders")


def texts() -> list[str]:
    """What the jobs have written, in order."""
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


def test_a_group_is_named_by_its_reference(orders: Group) -> None:
    assert str(orders) == "orders"


def test_a_reference_means_the_latest_open_group(orders: Group) -> None:
    first = schedule(note, ["1"], group="orders")
    assert first.group == orders
    assert schedule(note, ["2"], group="orders").group == orders


@pytest.mark.parametrize("end", ["executed", "cancelled", "discarded"])
def test_a_reference_whose_group_has_ended_means_a_new_one_like_it(
    orders: Group, flush: Callable[..., Any], end: str
) -> None:
    function = fail if end == "discarded" else note
    job = schedule(function, group=orders, meta={"max_attempts": 1})
    if end == "cancelled":
        deschedule(note)
    flush(keep_going=True)
    job.refresh_from_db()
    assert (job.state, orders.has_completed()) == (end, True)
    renewed = schedule(note, ["new"], group="orders").group
    assert renewed is not None
    assert (renewed.pk > orders.pk, renewed.description) == (True, "Orders of the day")


def test_a_group_with_a_job_that_waits_for_its_next_attempt_is_open(
    orders: Group, flush: Callable[..., Any]
) -> None:
    schedule(fail, group=orders)
    flush(keep_going=True)
    assert not orders.has_completed()
    assert schedule(note, group="orders").group == orders


def test_a_reference_cannot_have_two_open_groups(orders: Group) -> None:
    schedule(nothing, group=orders)
    with pytest.raises(ValidationError, match="orders"):
        Group.objects.create(reference="orders")
    assert Group.objects.count() == 1


def test_a_group_that_waits_for_its_first_job_is_open(orders: Group) -> None:
    with pytest.raises(ValidationError, match="orders"):
        Group.objects.create(reference="orders")
    other = Group.objects.create(reference="stock")
    other.reference = "orders"
    with pytest.raises(ValidationError, match="orders"):
        other.save()
    assert schedule(nothing, group="orders").group == orders
    orders.description = "It can still be saved itself."
    orders.save()


def test_a_group_takes_the_new_reference_that_it_is_given(orders: Group) -> None:
    orders.reference = "stock"
    orders.save()
    with pytest.raises(ValidationError, match="stock"):
        Group.objects.create(reference="stock")
    assert schedule(nothing, group="stock").group == orders
    assert schedule(nothing, group="orders").group != orders


def test_a_group_cannot_take_the_reference_of_an_open_one(orders: Group) -> None:
    schedule(nothing, group=orders)
    other = Group.objects.create(reference="stock")
    other.reference = "orders"
    with pytest.raises(ValidationError, match="orders"):
        other.save()


@pytest.mark.parametrize("end", ["executed", "cancelled"])
def test_no_job_joins_a_group_that_has_jobs_that_ended(orders: Group, end: str) -> None:
    job, _ = schedule(nothing, [1], group=orders), schedule(nothing, [2], group=orders)
    if end == "executed":
        job.execute()
    else:
        deschedule(nothing, [1])
    outsider, stranger = schedule(note, ["a"]), schedule(note, ["b"])
    stranger.group = orders
    for join in (
        lambda: schedule(note, group=orders),
        lambda: schedule(note, group="orders"),
        lambda: schedule_many([{"function": note, "group": orders}]),
        lambda: orders.on_completion(outsider),
        stranger.save,
    ):
        with pytest.raises(ValidationError, match="orders"):
            join()
    assert orders.jobs.count() == 2
    assert Group.objects.get().final is None


def test_a_member_of_such_a_group_can_still_be_saved(orders: Group) -> None:
    done, left = (schedule(nothing, [n], group=orders) for n in range(2))
    done.execute()
    left.priority = 9
    left.save()
    assert Job.objects.get(priority=9) == left


def test_a_group_without_jobs_has_not_completed(orders: Group) -> None:
    assert not orders.has_completed()


def test_a_group_has_completed_when_all_have_ended(orders: Group) -> None:
    first, second = (schedule(nothing, [n], group=orders) for n in range(2))
    first.execute()
    assert (orders.has_completed(), orders.has_completed(exclude=second)) == (False, True)
    deschedule(nothing, [1])
    assert orders.has_completed()


def test_the_latest_executed_job_is_the_one_that_ended_last(orders: Group) -> None:
    first, second, _ = (schedule(nothing, [n], group=orders) for n in range(3))
    assert orders.latest_executed_job() is None
    second.execute()
    assert orders.latest_executed_job() == second
    first.execute()
    assert orders.latest_executed_job() == first


def test_the_duration_is_estimated_from_what_has_ended(orders: Group) -> None:
    assert orders.estimate_execution_duration() == (None, None, None)
    jobs = [schedule(nothing, [n], group=orders) for n in range(4)]
    assert orders.estimate_execution_duration() == (None, None, None)
    Group.objects.update(created=timezone.now() - timedelta(hours=1))
    orders.refresh_from_db()
    jobs[0].execute()
    total, remaining, consumed = orders.estimate_execution_duration()
    assert consumed is not None
    assert total == consumed * 4
    assert remaining == consumed * 3
    assert timedelta(hours=1) <= consumed < timedelta(hours=1, minutes=1)


def test_the_duration_of_a_completed_group_is_what_it_took(orders: Group) -> None:
    job = schedule(nothing, group=orders)
    job.execute()
    Job.objects.update(executed=orders.created + timedelta(seconds=90))
    taken = timedelta(seconds=90)
    assert orders.estimate_execution_duration() == (taken, timedelta(), taken)


def test_on_completion_makes_a_job_the_final_one_and_a_member(orders: Group) -> None:
    final = schedule(note, ["final"])
    orders.on_completion(final)
    final.refresh_from_db()
    assert (Group.objects.get().final, final.group) == (final, orders)


def test_the_final_job_runs_after_all_others(orders: Group, flush: Callable[..., Any]) -> None:
    final = schedule(note, ["final"], priority=100)
    orders.on_completion(final)
    for number in range(3):
        schedule(note, [str(number)], group="orders")
    flush()
    assert texts() == ["0", "1", "2", "final"]


def test_the_final_job_waits_while_another_one_is_to_come(
    orders: Group, flush: Callable[..., Any]
) -> None:
    orders.on_completion(schedule(note, ["final"]))
    late = schedule(note, ["late"], group=orders, run_after=LATER)
    schedule(fail, group=orders)
    flush(keep_going=True)
    assert texts() == []
    late.execute()
    flush(keep_going=True)
    assert texts() == ["late"]
    deschedule(fail)
    flush(keep_going=True)
    assert texts() == ["late", "final"]


def test_the_final_job_runs_after_others_that_were_given_up(
    orders: Group, flush: Callable[..., Any]
) -> None:
    orders.on_completion(schedule(note, ["final"]))
    schedule(fail, group=orders, meta={"max_attempts": 1})
    flush(keep_going=True)
    assert texts() == ["final"]


def test_a_final_job_alone_runs(orders: Group, flush: Callable[..., Any]) -> None:
    orders.on_completion(schedule(note, ["final"]))
    flush()
    assert texts() == ["final"]


def test_deleting_a_final_job_deletes_nothing_else(orders: Group) -> None:
    final, member = schedule(note, ["final"]), schedule(note, group=orders)
    orders.on_completion(final)
    final.delete()
    assert Group.objects.get().final is None
    assert list(orders.jobs.all()) == [member]


def test_deleting_a_group_deletes_its_jobs(orders: Group) -> None:
    orders.on_completion(schedule(note))
    schedule(note, group=orders)
    stranger = schedule(note)
    Group.objects.get().delete()
    assert list(Job.objects.all()) == [stranger]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="runs one atomic job at a time")
@pytest.mark.parametrize("round_", range(3))
def test_two_last_jobs_that_end_at_once_release_the_final_job_once(
    orders: Group, round_: int
) -> None:
    calls.meeting.reset()
    orders.on_completion(schedule(note, ["final"], priority=9))
    for _ in range(2):
        schedule(calls.meets, group=orders)
    kept = run_pass(workers=2)
    assert (kept.summary.executed, kept.summary.failed) == (3, 0)
    assert texts() == ["final"]
    final = Group.objects.get().final
    assert final is not None
    assert final.attempts == 1
    others = orders.jobs.exclude(pk=final.pk)
    assert others.filter(executed__lt=final.started).count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("before", ["nothing", "ended"])
def test_a_group_that_was_opened_since_the_look_is_joined(before: str) -> None:
    if before == "ended":
        schedule(nothing, group="orders").execute()
    others: list[Job] = []
    with before_first_write(lambda: others.append(elsewhere(schedule_nothing_for_orders))):
        mine = schedule_nothing_for_orders()
    assert [mine.group_id] == [job.group_id for job in others]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("before", ["nothing", "ended"])
def test_callers_at_once_get_one_group_for_a_reference(before: str) -> None:
    if before == "ended":
        schedule(nothing, group="orders").execute()
    together = Barrier(3)

    def call() -> int | None:
        together.wait(DEADLINE)
        return schedule_nothing_for_orders().group_id

    with beside(call) as first, beside(call) as second, beside(call) as third:
        groups = {running.result(DEADLINE) for running in (first, second, third)}
    assert len(groups) == 1
    assert Job.objects.pending().count() == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="has one writer")
@pytest.mark.parametrize("commits", [True, False])
def test_a_second_caller_waits_for_the_first_ones_group(commits: bool) -> None:
    with ExitStack() as stack:
        with transaction.atomic():
            mine = schedule_nothing_for_orders().group_id
            second = stack.enter_context(beside(schedule_nothing_for_orders))
            wait_for_a_waiter("%async_group%")
            transaction.set_rollback(not commits)
        found = second.result(DEADLINE).group_id
    assert (found == mine) is commits
    assert [group.pk for group in Group.objects.all()] == [found]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="others do not say what they read")
def test_final_jobs_are_left_out_by_a_few_probes_each_whatever_the_statistics_say() -> None:
    """There are none of the groups yet. A plan that joins them reads all members for each."""
    number = 1500
    groups = Group.objects.bulk_create(Group(reference=f"group {one}") for one in range(number))
    members = schedule_many([{"function": nothing, "run_after": LATER}] * number)
    finals = schedule_many([{"function": nothing, "priority": 9}] * number)
    for group, member, final in zip(groups, members, finals, strict=True):
        member.group = final.group = group
        group.final = final
    Job.objects.bulk_update([*members, *finals], ["group"])
    Group.objects.bulk_update(groups, ["final"])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE async_job")
    reads = fetch.Fetch("default", None, fetch.Selection())
    assert blocks_read(lambda: reads.page(None, 64)) < 20 * number


@pytest.mark.skipif(connection.vendor != "postgresql", reason="others do not say what they read")
def test_to_claim_a_job_of_a_large_group_takes_a_few_probes() -> None:
    group = Group.objects.create(reference="large")
    members = schedule_many({"function": nothing, "group": group} for _ in range(3000))
    final = schedule(nothing)
    group.on_completion(final)
    sql = pending.waits_for_sql("postgresql", "%s")

    def ask(job_id: int) -> object:
        with connection.cursor() as cursor:
            cursor.execute(sql, [job_id, job_id])
            return cursor.fetchone()

    assert (ask(members[0].pk), ask(final.pk)) == (None, (1,))
    assert blocks_read(lambda: ask(members[0].pk)) < 20
    assert blocks_read(lambda: ask(final.pk)) < 20
