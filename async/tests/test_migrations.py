"""Databases of django-async 0.7.3 go on, and new ones can be made, unmade and made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from django_async import payload
from django_async.api import deschedule, remove_old_jobs, schedule
from django_async.models import Error, Group, Job
from suite import scratch
from suite.models import Note

EXPECTED = json.loads((scratch.DUMPS / "expected.json").read_text(encoding="utf-8"))
JOBS: dict[int, dict[str, Any]] = {int(pk): job for pk, job in EXPECTED["jobs"].items()}
GROUPS: dict[int, dict[str, Any]] = {int(pk): group for pk, group in EXPECTED["groups"].items()}

ENDS = {
    "executed": "executed",
    "executed-and-cancelled": "executed",
    "executed-then-failed": "executed",
    "cancelled": "cancelled",
    "failed-due": "failed",
    "failed-waiting": "failed",
    "pending-now": "due",
    "pending-future": "scheduled",
}
"""The state in words that each of 0.7.3's states continues in."""

FAILING = {"suite.legacy.fail", "suite.legacy.gone", "suite.legacy.unserialisable"}


@pytest.fixture
def empty(django_db_blocker: Any, tmp_path: Path) -> Iterator[None]:
    """A database of the test's own with nothing in it."""
    with (
        django_db_blocker.unblock(),
        scratch.scratch_database(tmp_path) as name,
        scratch.used_by_default(name),
    ):
        yield


@pytest.fixture
def legacy(empty: None) -> None:
    """A database as 0.7.3 left it."""
    scratch.load_legacy_dump()


@pytest.fixture
def upgraded(legacy: None) -> None:
    """A database that 0.7.3 left, migrated."""
    scratch.migrate()


@pytest.fixture(scope="module")
def shared(django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database that 0.7.3 left, migrated once for all tests that only read it."""
    folder = tmp_path_factory.mktemp("shared")
    with django_db_blocker.unblock(), scratch.scratch_database(folder, "shared") as name:
        with scratch.used_by_default(name):
            scratch.load_legacy_dump()
            scratch.migrate()
        yield name


@pytest.fixture
def read_only(django_db_blocker: Any, shared: str) -> Iterator[None]:
    """A migrated database to be read."""
    with django_db_blocker.unblock(), scratch.used_by_default(shared):
        yield


def expected_state(pk: int) -> str:
    """What the job's state is after the upgrade."""
    job = JOBS[pk]
    if job["state"] == "executed-but-lost":
        # With a result the row is the same as that of a good run and a failed one after it.
        return "executed" if job["result"] else "discarded"
    return ENDS[job["state"]]


def pending_now() -> set[int]:
    """The jobs whose time has come."""
    return {pk for pk, job in JOBS.items() if job["state"] in ("pending-now", "failed-due")}


def test_no_row_is_lost(read_only: None) -> None:
    assert set(Job.objects.values_list("pk", flat=True)) == set(JOBS)
    assert set(Group.objects.values_list("pk", flat=True)) == set(GROUPS)
    errors = {job.pk: job.errors.count() for job in Job.objects.all()}
    assert errors == {pk: job["errors"] for pk, job in JOBS.items()}


def test_states_are_kept_and_impossible_ones_repaired(read_only: None) -> None:
    states = {job.pk: job.state for job in Job.objects.all()}
    assert states == {pk: expected_state(pk) for pk in JOBS}
    assert set(states.values()) == {
        *("executed", "cancelled", "discarded", "failed", "due", "scheduled")
    }


def test_what_rows_say_is_kept(read_only: None) -> None:
    for job in Job.objects.select_related("group"):
        old = JOBS[job.pk]
        kept = ("args", "kwargs", "meta", "result", "priority")
        assert {field: getattr(job, field) for field in kept} == {f: old[f] for f in kept}
        assert (job.added, job.scheduled) == (_moment(old["added"]), _moment(old["scheduled"]))
        assert (job.group_id, job.group and job.group.reference) == (
            old["group"],
            old["group_reference"],
        )
        assert job.queue == "default"


def test_stamps_of_ends_are_kept(read_only: None) -> None:
    for job in Job.objects.all():
        old = JOBS[job.pk]
        executed, cancelled = _moment(old["executed"]), _moment(old["cancelled"])
        if expected_state(job.pk) == "discarded":
            assert (job.executed, job.discarded) == (None, executed)
        else:
            assert (job.executed, job.discarded) == (executed, None)
            assert job.cancelled == (None if executed else cancelled)
            assert job.started == (_moment(old["started"]) or executed)


def test_attempts_are_the_errors_and_the_success(read_only: None) -> None:
    attempts = dict(Job.objects.values_list("pk", "attempts"))
    wanted = {pk: job["errors"] + (expected_state(pk) == "executed") for pk, job in JOBS.items()}
    assert attempts == wanted
    assert set(Job.objects.values_list("crashes", flat=True)) == {0}


def test_names_of_old_lead_to_this_package_and_identities_match(read_only: None) -> None:
    for job in Job.objects.all():
        old = JOBS[job.pk]
        moved = old["name"].startswith("async.")
        assert job.name == (f"django_{old['name']}" if moved else old["name"])
        assert job.identity == payload.identity(job.name, job.args, job.kwargs)
        assert (job.identity == old["identity"]) is not moved


def test_groups_keep_what_they_say(read_only: None) -> None:
    for group in Group.objects.all():
        old = GROUPS[group.pk]
        assert (group.reference, group.description) == (old["reference"], old["description"])
        assert group.created == _moment(old["created"])
        assert group.final_id == old["final"]
        assert sorted(group.jobs.values_list("pk", flat=True)) == old["jobs"]


def test_the_newest_group_of_a_reference_holds_it(read_only: None) -> None:
    newest = {group["reference"]: pk for pk, group in sorted(GROUPS.items())}
    holders = Group.objects.exclude(open_reference=None)
    assert dict(holders.values_list("open_reference", "pk")) == newest
    assert len(newest) < len(GROUPS)


def test_deschedule_finds_what_0_7_3_scheduled(upgraded: None) -> None:
    assert deschedule(remove_old_jobs, args=[30, 8]) == 1
    assert deschedule("async.api.remove_old_jobs", args=[30, 8]) == 0
    assert deschedule("suite.legacy.note", args=["past"]) == 1
    assert deschedule("suite.legacy.note", kwargs={"mango": 3, "apple": 2, "zebra": 1}) == 1
    assert deschedule("suite.legacy.note", args=(1, (2, 3))) == 1
    assert deschedule("suite.legacy.note", args=["twin"]) == 0
    cancelled = [JOBS[job.pk]["case"] for job in Job.objects.cancelled() if not _was_cancelled(job)]
    assert sorted(cancelled) == [
        "arguments: keywords not in order",
        "arguments: tuples, stored as lists",
        "remove_old_jobs by its function",
        "scheduled in the past",
    ]


def test_a_new_job_joins_the_latest_of_two_open_groups(upgraded: None) -> None:
    first, second = Group.objects.filter(reference="stocktake").order_by("pk")
    assert schedule("suite.legacy.note", ["shelf", 2], group="stocktake").group == second
    assert schedule("suite.legacy.note", ["shelf", 3], group=first).group == first
    assert Group.objects.filter(reference="stocktake").count() == 2


def test_a_new_job_joins_the_open_one_of_two_groups_when_the_latest_has_ended(
    upgraded: None,
) -> None:
    first, second = Group.objects.filter(reference="stocktake").order_by("pk")
    for job in second.jobs.all():
        job.execute()
    assert (first.has_completed(), second.has_completed()) == (False, True)
    assert schedule("suite.legacy.note", ["shelf", 2], group="stocktake").group == first
    for job in first.jobs.all():
        job.execute()
    third = schedule("suite.legacy.note", ["shelf", 3], group="stocktake").group
    assert third not in (first, second)


def test_a_deleted_final_job_leaves_its_group_and_the_jobs_in_it(upgraded: None) -> None:
    group = Group.objects.get(reference="orders")
    members = group.jobs.count()
    assert group.final is not None
    group.final.delete()
    group.refresh_from_db()
    assert (group.final_id, group.jobs.count()) == (None, members - 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_pending_jobs_run(upgraded: None, flush: Callable[..., Any], workers: int) -> None:
    flushed = flush(keep_going=True, workers=workers)
    fails = {pk for pk in pending_now() if JOBS[pk]["name"] in FAILING}
    ran = pending_now() - fails
    assert flushed.status == 1
    assert {pk for pk in pending_now() if Job.objects.get(pk=pk).state == "executed"} == ran
    assert {pk for pk in pending_now() if Job.objects.get(pk=pk).state == "failed"} == fails
    assert sorted(Note.objects.values_list("text", flat=True)) == sorted(
        _note(JOBS[pk]) for pk in ran
    )
    assert Error.objects.count() == sum(job["errors"] for job in JOBS.values()) + len(fails)


def test_what_was_not_pending_does_not_run(upgraded: None, flush: Callable[..., Any]) -> None:
    others = set(JOBS) - pending_now()
    before = list(Job.objects.filter(pk__in=others).order_by("pk").values())
    flush(keep_going=True)
    assert list(Job.objects.filter(pk__in=others).order_by("pk").values()) == before


def test_a_final_job_of_old_still_waits_for_its_group(
    upgraded: None, flush: Callable[..., Any]
) -> None:
    Job.objects.filter(args='["late order"]').update(scheduled="2098-01-01T00:00:00Z")
    flush(keep_going=True)
    assert Job.objects.get(args='["reconciled"]').state == "due"
    Job.objects.filter(args='["late order"]').update(scheduled=None)
    flush(keep_going=True)
    final, late = (Job.objects.get(args=text) for text in ('["reconciled"]', '["late order"]'))
    assert final.started is not None
    assert late.executed is not None
    assert final.started > late.executed


def test_references_that_only_the_database_finds_equal_upgrade(legacy: None) -> None:
    references = ["cafe", "Café", "cafe ", "CAFE", "Straße", "STRASSE"]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO async_group (reference, created) VALUES (%s, '2017-03-01 09:00:13')",
            [[reference] for reference in references],
        )
    scratch.migrate()
    held = Group.objects.filter(pk__gt=max(GROUPS)).order_by("pk")
    assert [group.reference for group in held] == references
    for reference in references:
        assert Group.objects.filter(open_reference=reference).count() == 1


def test_ids_go_on_beyond_32_bits(upgraded: None) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT setval(pg_get_serial_sequence('async_job', 'id'), 2147483647)")
        elif connection.vendor == "mysql":
            cursor.execute("ALTER TABLE async_job AUTO_INCREMENT = 2147483648")
        else:
            cursor.execute("UPDATE sqlite_sequence SET seq = 2147483647 WHERE name = 'async_job'")
    job = schedule("suite.legacy.note", group="big")
    job.errors.create(exception="", traceback="")
    assert job.pk == 2**31
    assert Job.objects.filter(errors__job=2**31).count() == 1


def test_the_first_migration_makes_the_tables_of_0_7_3(empty: None) -> None:
    scratch.migrate("async", "0001")
    made = scratch.schema()
    _empty_the_database()
    scratch.load_legacy_dump()
    assert made == scratch.schema()


def test_an_upgraded_database_has_the_tables_of_a_new_one(upgraded: None) -> None:
    found = scratch.schema()
    _empty_the_database()
    scratch.migrate()
    assert found == scratch.schema()


def test_migrations_go_back_to_the_first_and_forth_again(empty: None) -> None:
    scratch.migrate("async", "0001")
    first = scratch.schema()
    scratch.migrate()
    last, names = scratch.schema(), scratch.applied()
    scratch.migrate("async", "0001")
    assert scratch.schema() == first
    assert scratch.applied() == names[:1]
    scratch.migrate()
    assert scratch.schema() == last
    assert scratch.applied() == names
    assert schedule("suite.legacy.note").execute() == [0, []]


def test_migrations_can_be_taken_back_altogether(empty: None) -> None:
    scratch.migrate("async")
    scratch.migrate("async", "zero")
    assert not {"async_job", "async_group", "async_error"} & set(
        connection.introspection.table_names()
    )


@pytest.mark.parametrize(
    ("what", "columns"),
    [
        ("executed and cancelled", {"started": "now", "executed": "now", "cancelled": "now"}),
        ("executed and discarded", {"started": "now", "executed": "now", "discarded": "now"}),
        ("cancelled and discarded", {"cancelled": "now", "discarded": "now"}),
        ("executed and never started", {"executed": "now"}),
        ("in no queue", {"queue": ""}),
        ("crashed without an attempt", {"crashes": 1}),
    ],
)
@pytest.mark.django_db
def test_the_database_refuses_a_job(what: str, columns: dict[str, Any]) -> None:
    job = schedule("suite.legacy.note")
    values = {key: job.added if value == "now" else value for key, value in columns.items()}
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(**values)


@pytest.mark.django_db
def test_models_and_migrations_agree(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=1)
    assert "No changes detected" in capsys.readouterr().out


@pytest.mark.django_db
def test_the_checks_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check", databases=["default"], fail_level="DEBUG")
    assert "no issues (0 silenced)" in capsys.readouterr().out


def _empty_the_database() -> None:
    """Drop the queue's tables, and the record of what was migrated."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
    with connection.schema_editor() as editor, connection.constraint_checks_disabled():
        for table in tables:
            cascade = " CASCADE" if connection.vendor == "postgresql" else ""
            editor.execute(f"DROP TABLE {connection.ops.quote_name(table)}{cascade}")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _was_cancelled(job: Job) -> bool:
    return JOBS[job.pk]["cancelled"] is not None


def _note(job: dict[str, Any]) -> str:
    """What suite.legacy.note leaves when it is called as the row says."""
    call = [json.loads(job["args"]), json.loads(job["kwargs"])]
    return json.dumps(call, sort_keys=True, ensure_ascii=False)
