"""The cleaner of a service: what ended long ago goes, a few at a time, beside the jobs."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import Error as DriverError
from django.db import connection, models, transaction
from django.db.models.signals import ModelSignal, post_delete, pre_delete

from django_async import clock, locks, schedule
from django_async.engine import Duty, Engine
from django_async.models import Error, Group, Job
from django_async.parents import Registration
from django_async.retention import START, Place, remove_before, remove_some
from django_async.upkeep import Cleaner
from suite.jobs import nothing
from suite.service import Service
from suite.together import alive, elsewhere, locked

pytestmark = pytest.mark.django_db

DAY = 86_400.0


locks_rows = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
on_commits = pytest.mark.django_db(transaction=True)


@on_commits
@locks_rows
def test_what_somebody_has_locked_is_left_and_the_others_go() -> None:
    jobs = [ended(9) for _ in range(3)]
    with locked(jobs[0]):
        walk()
        assert left() == {jobs[0].pk}
    walk()
    assert left() == set()


@pytest.mark.parametrize("in_group", [False, True])
def test_what_is_retried_meanwhile_is_kept(in_group: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what is old and its deletion."""
    job = schedule(nothing, group=Group.objects.create(reference="orders") if in_group else None)
    Job.objects.filter(pk=job.pk).update(cancelled=clock.now("default") - timedelta(days=9))
    lock = locks.lock_all

    def late(*args: Any, **options: Any) -> Any:
        if job.pk in args[0]:
            job.retry()
        return lock(*args, **options)

    monkeypatch.setattr("django_async.retention.lock_all", late)
    walk()
    assert left() == {job.pk}
    assert Group.objects.count() == in_group


def test_a_large_group_goes_a_few_members_at_a_time_its_final_job_and_itself_last() -> None:
    group, final = old_group(7)
    seen = [left()]
    for _ in steps(2):
        seen.append(left())
        if seen[-1]:
            assert final.pk in seen[-1]
            assert Group.objects.get() == group
            assert Group.objects.get().final == final
    assert max(len(before - after) for before, after in pairwise(seen)) == 2
    assert (left(), Group.objects.count()) == (set(), 0)


def test_a_group_of_which_a_part_is_gone_is_taken_up_by_another_walk() -> None:
    """The parent was killed meanwhile, and begins anew."""
    old_group(7)
    next(one for one in steps(2) if len(left()) == 3)
    walk(2)
    assert (left(), Group.objects.count()) == (set(), 0)


def test_a_group_of_which_a_member_is_retried_keeps_what_it_has() -> None:
    """Were it gone by then, the final job could not be told from others."""
    group, final = old_group(7, cancelled=True)
    next(one for one in steps(2) if len(left()) == 3)
    kept = left()
    next(job for job in group.jobs.all() if job != final).retry()
    walk(2)
    assert left() == kept
    assert Group.objects.get().final == final


def test_a_group_of_which_a_member_is_retried_meanwhile_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the look at the group and the deletion of others of its members."""
    group, _ = old_group(7, cancelled=True)
    before, lock = left(), locks.lock_rows

    def late(*args: Any) -> list[int]:
        last = group.jobs.order_by("pk").last()
        assert last
        last.retry()
        return lock(*args)

    monkeypatch.setattr("django_async.retention.lock_rows", late)
    remove_some(7 * DAY, "default", 2, Place(3))
    assert left() == before


def test_many_small_groups_go_in_one_batch() -> None:
    for number in range(5):
        old_group(2, str(number))
    young, _ = old_group(2, "young", days=6)
    [walked] = [place for place in steps(20) if place and place.part == 3]
    assert walked.after is None
    assert list(Group.objects.all()) == [young]


@pytest.mark.parametrize("at_most", [1, 2, 3, 5, 8])
def test_groups_of_all_sizes_go_in_one_walk(at_most: int) -> None:
    for size in (1, 2, 4, 1, 3):
        old_group(size, f"{size} of {Group.objects.count()}")
    without = Group.objects.create(reference="without a final job")
    ended(9, without)
    walk(at_most)
    assert (left(), Group.objects.count()) == (set(), 0)


@on_commits
@locks_rows
def test_a_group_keeps_its_final_job_while_a_member_is_locked() -> None:
    group, final = old_group(5)
    member = group.jobs.order_by("pk")[1]
    with locked(member):
        walk(2)
        assert left() == {member.pk, final.pk}
        assert Group.objects.get().final == final
    walk(2)
    assert (left(), Group.objects.count()) == (set(), 0)


@on_commits
@locks_rows
def test_a_group_from_which_somebody_else_deletes_is_left_to_them() -> None:
    """Of two who each leave it for the other one's members, it would be left without any."""
    group, _ = old_group(5)
    members = left()
    with transaction.atomic():
        locks.lock_rows(Group.objects.filter(pk=group.pk))
        elsewhere(walk)
        assert left() == members
    walk()
    assert (left(), Group.objects.count()) == (set(), 0)


protections = pytest.mark.parametrize("on_delete", [models.PROTECT, models.DO_NOTHING])
"""By Django, and by the constraint in the database alone, which may be deferred."""


@on_commits
@protections
def test_what_cannot_be_deleted_is_passed_over_and_told_once(
    on_delete: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if it is more than a batch, and all of it ended at the same moment."""
    protect(on_delete, monkeypatch)
    jobs = [ended(9) for _ in range(9)]
    same = clock.now("default") - timedelta(days=9)
    Job.objects.update(started=same, executed=same)
    held = [job for job in jobs if job != jobs[7]]
    for job in held:
        job.errors.create(exception="", traceback="")
    ended(8)
    service = Service()
    service.each_turn = lambda: ended(8) if 150 < service.time.now < 160 else None
    serve(service, 300.0)
    assert left() == {job.pk for job in held}
    told = re.findall("([0-9]+) jobs on 'default' that ended .* cannot be deleted", caplog.text)
    assert sum(map(int, told)) == len(held)
    assert "foreign key" in caplog.text.lower()


@on_commits
def test_what_a_trigger_keeps_is_passed_over() -> None:
    jobs = [ended(9) for _ in range(9)]
    with kept_by_trigger(jobs[3]):
        walk()
    assert left() == {jobs[3].pk}


@on_commits
def test_what_a_receiver_fails_at_is_passed_over_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = [ended(9) for _ in range(9)]

    def keep(instance: Job, **_: Any) -> None:
        if instance == jobs[3]:
            raise ZeroDivisionError({"by": "the receiver"})

    with receiving(pre_delete, keep):
        remove_before(clock.now("default") - timedelta(days=1), "default")
    assert left() == {jobs[3].pk}
    assert f"Job {jobs[3].pk}: ZeroDivisionError({{'by': 'the receiver'}})" in caplog.text


@on_commits
@pytest.mark.parametrize("jobs", [1, 9])
def test_what_a_hook_of_the_commit_raises_is_not_lost(jobs: int) -> None:
    for _ in range(jobs):
        ended(9)

    def hook() -> None:
        raise ZeroDivisionError("by the hook")

    def hear(**_: Any) -> None:
        transaction.on_commit(hook)

    with receiving(post_delete, hear), pytest.raises(ZeroDivisionError, match="by the hook"):
        walk()
    assert left() == set()


@on_commits
def test_a_database_that_takes_no_writes_is_no_fault_of_its_rows() -> None:
    job = ended(9)
    with writing_nothing(), pytest.raises(DriverError, match=r"(?i)read.?only"):
        walk()
    assert left() == {job.pk}


@contextmanager
def writing_nothing() -> Iterator[None]:
    """In this session, as on a standby."""
    start, end = WRITE_NOTHING[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(start)
        try:
            yield
        finally:
            cursor.execute(end)


WRITE_NOTHING = {
    "postgresql": ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION TRANSACTION READ WRITE"),
    "sqlite": ("PRAGMA query_only = on", "PRAGMA query_only = off"),
}


@contextmanager
def receiving(signal: ModelSignal, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, sender=Job)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=Job)


@contextmanager
def kept_by_trigger(job: Job) -> Iterator[None]:
    create = TRIGGER[connection.vendor].format(id=job.pk)
    with connection.cursor() as cursor:
        cursor.execute(create)
        try:
            yield
        finally:
            on = " ON async_job" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER keep{on}")


TRIGGER = {
    "postgresql": "CREATE OR REPLACE FUNCTION keep() RETURNS trigger AS"
    " $$ BEGIN RAISE EXCEPTION 'kept'; END $$ LANGUAGE plpgsql;"
    " CREATE TRIGGER keep BEFORE DELETE ON async_job FOR EACH ROW WHEN (OLD.id = {id})"
    " EXECUTE FUNCTION keep()",
    "mysql": "CREATE TRIGGER keep BEFORE DELETE ON async_job FOR EACH ROW BEGIN"
    " IF OLD.id = {id} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'kept'; END IF; END",
    "sqlite": "CREATE TRIGGER keep BEFORE DELETE ON async_job WHEN OLD.id = {id} BEGIN"
    " SELECT RAISE(ABORT, 'kept'); END",
}


@on_commits
@protections
def test_a_member_that_cannot_be_deleted_keeps_its_group_and_its_final_job(
    on_delete: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(on_delete, monkeypatch)
    group, final = old_group(7)
    members = group.jobs.order_by("pk")[1:5]
    for member in members:
        member.errors.create(exception="", traceback="")
    old_group(3, "others")
    walk(2)
    assert left() == {final.pk, *(member.pk for member in members)}
    assert Group.objects.get().final == final


def protect(on_delete: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a job with errors be one on which a row of the application's holds."""
    monkeypatch.setattr(Error._meta.get_field("job").remote_field, "on_delete", on_delete)


def steps(at_most: int) -> Iterator[Place | None]:
    """Make a walk, step by step: where it goes on after each."""
    place: Place | None = START
    while place is not None:
        place = remove_some(7 * DAY, "default", at_most, place).place
        yield place


def walk(at_most: int = 10) -> None:
    for _ in steps(at_most):
        pass


def old_group(
    size: int, reference: str = "orders", *, cancelled: bool = False, days: float = 9
) -> tuple[Group, Job]:
    """A group of so many jobs that ended long ago, and its final job, which was scheduled first."""
    group = Group.objects.create(reference=reference)
    jobs = [schedule(nothing, group=group) for _ in range(size)]
    group.on_completion(jobs[0])
    when = clock.now("default") - timedelta(days=days)
    state = {"cancelled": when} if cancelled else {"started": when, "executed": when}
    group.jobs.update(**state)
    return group, jobs[0]


class Counted(Cleaner):
    """Deletes two at a time."""

    BATCH = 2


def ended(days: float, group: Group | None = None) -> Job:
    job = schedule(nothing, group=group)
    when = clock.now("default") - timedelta(days=days)
    Job.objects.filter(pk=job.pk).update(started=when, executed=when)
    return job


def left() -> set[int]:
    return set(Job.objects.values_list("pk", flat=True))


def serve(service: Service, seconds: float, *before: Duty) -> None:
    """Have the service, with a cleaner, do what it does for so long of its time."""
    cleaners = [Counted(lane, 7 * DAY, operator.call) for lane in service.lanes]
    service.run(lambda: service.time.now > seconds, *before, *cleaners)


def test_a_service_deletes_what_ended_longer_ago_than_the_retention() -> None:
    for _ in range(5):
        ended(8)
    young, pending = ended(6), schedule(nothing, run_after=timedelta(days=1))
    serve(Service(), 5.0)
    assert left() == {young.pk, pending.pk}


def test_it_looks_again_after_a_while() -> None:
    service = Service()
    service.each_turn = lambda: ended(8) if 10 < service.time.now < 30 else None
    serve(service, 200.0)
    assert left() == set()


def test_it_deletes_a_few_at_a_time_with_pauses_for_others() -> None:
    for _ in range(6):
        ended(8)
    service, seen = Service(), list[int]()
    service.each_turn = lambda: seen.append(Job.objects.count())
    serve(service, 5.0)
    assert sorted(set(seen), reverse=True) == [4, 2, 0]


def test_a_batch_that_takes_long_is_followed_by_a_pause_four_times_as_long() -> None:
    """As beside an old transaction, where what was deleted before has to be read past."""
    for _ in range(60):
        ended(8)
    service = Service()
    began: list[float] = []

    def slowly(function: Any, *args: Any) -> Any:
        began.append(service.time.now)
        service.time.now += 1.0
        return function(*args)

    cleaner = Counted(service.lanes[0], 7 * DAY, slowly)
    service.run(lambda: service.time.now > 60.0, cleaner)
    assert 10 <= len(began) <= 60 / 5 + 1
    assert min(late - early for early, late in pairwise(began)) >= 5.0


@on_commits
def test_of_several_parents_each_that_has_a_retention_does_it() -> None:
    """The first one may have none."""
    ended(8)
    first = Registration("default")
    with alive(first.register):
        serve(Service(), 5.0)
    assert left() == set()


class Halt:
    """The operator's wish to stop, as a duty."""

    def see_to(self, engine: Engine) -> float:
        engine.halt()
        return 1.0


def test_a_service_that_stops_deletes_nothing_more() -> None:
    old = ended(8)
    service = Service()
    serve(service, 5.0, Halt())
    assert left() == {old.pk}
