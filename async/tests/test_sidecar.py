"""SQLite's second file, and what happens to it."""

from __future__ import annotations

import gc
import json
import logging
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import clock, schedule
from django_async.api import health
from django_async.control import Control, Run
from django_async.errors import NoticesUnavailable
from django_async.forking import close_connections
from django_async.models import Job
from django_async.sidecar import VERSION, Sidecar
from suite.jobs import note, nothing
from suite.together import elsewhere

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's second file"),
]

ME = "5" * 32


@pytest.fixture(autouse=True)
def database(tmp_path: Path) -> Iterator[Path]:
    """The default database is, as long as the test runs, a file in a folder of its own."""
    file = tmp_path / "own.sqlite3"
    connection.ensure_connection()
    with closing(sqlite3.connect(file)) as target:
        connection.connection.backup(target)
    usual = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = str(file)
    try:
        yield file
    finally:
        connection.close()
        connection.settings_dict["NAME"] = usual


@pytest.fixture
def file(database: Path) -> Path:
    """The second file's place."""
    return Path(f"{database}-async")


@pytest.fixture
def control() -> Iterator[Control]:
    control = Control("default", ME)
    yield control
    control.clear()


def running_job() -> Job:
    """One that cannot be cancelled at once."""
    job = schedule(nothing)
    Job.objects.filter(pk=job.pk).update(started=clock.now("default"))
    return job


def run(job: Job) -> Run:
    return Run(job.pk, 1, 4711, 2.0)


def rows(file: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(file)) as found:
        found.row_factory = sqlite3.Row
        return [dict(row) for row in found.execute(f"SELECT * FROM {table}")]


def test_it_is_made_when_there_is_something_to_write(file: Path, control: Control) -> None:
    control.beat([])
    assert list(Job.objects.running()) == []
    assert health()["queue"]["running"] == []
    assert not file.exists()
    job = schedule(nothing)
    control.beat([run(job)])
    assert [row["job_id"] for row in rows(file, "async_running")] == [job.pk]
    control.clear()
    assert rows(file, "async_running") == []
    assert [name for name in os.listdir(file.parent) if "-async" in name] == [file.name]


def test_it_can_be_attached_and_has_the_columns_of_the_models(file: Path, control: Control) -> None:
    job = running_job()
    job.cancel()
    control.beat([run(job)])
    with connection.cursor() as cursor:
        cursor.execute("ATTACH %s AS live", [str(file)])
        for table in ("async_running", "async_cancellation"):
            columns = []
            for schema in ("main", "live"):
                cursor.execute(f"PRAGMA {schema}.table_info({table})")
                columns.append({row[1] for row in cursor.fetchall()})
            assert columns[0] == columns[1]
        cursor.execute(
            "SELECT async_job.name, live.async_running.pid FROM live.async_running"
            " JOIN async_job ON async_job.id = job_id"
        )
        assert cursor.fetchall() == [("suite.jobs.nothing", 4711)]


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o666])
def test_who_may_write_to_the_database_may_write_to_it(
    database: Path, file: Path, mode: int
) -> None:
    """Whoever makes it, and whatever that one's umask."""
    database.chmod(mode)
    before = os.umask(0o077)
    try:
        running_job().cancel()
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert file.stat().st_gid == database.stat().st_gid


def test_when_it_is_deleted_in_use_requests_are_heard_all_the_same(
    file: Path, control: Control
) -> None:
    job = running_job()
    control.beat([run(job)])
    for name in file.parent.glob(f"{file.name}*"):
        name.unlink()
    assert control.beat([run(job)]) == set()
    assert [row["job_id"] for row in rows(file, "async_running")] == [job.pk]
    for name in file.parent.glob(f"{file.name}*"):
        name.unlink()
    job.cancel()
    assert control.beat([run(job)]) == {job.pk}
    assert [row["job_id"] for row in rows(file, "async_running")] == [job.pk]


def test_the_tables_of_another_version_are_made_anew(file: Path, control: Control) -> None:
    with closing(sqlite3.connect(file)) as old:
        old.execute("CREATE TABLE async_running (job)")
        old.execute("CREATE TABLE async_cancellation (job)")
        old.execute(f"PRAGMA user_version = {VERSION + 1}")
    job = running_job()
    assert job.cancel() is False
    assert control.beat([run(job)]) == {job.pk}
    assert [row["job_id"] for row in rows(file, "async_running")] == [job.pk]


def test_what_an_earlier_database_of_this_name_has_left_means_nothing(
    database: Path, file: Path, control: Control
) -> None:
    job = running_job()
    job.cancel()
    earlier = Control("default", "6" * 32)
    earlier.beat([run(job)])
    earlier.board.close()
    Job.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE sqlite_sequence SET seq = seq - 1 WHERE name = 'async_job'")
    other = schedule(nothing)
    assert other.pk == job.pk
    assert list(Job.objects.running()) == []
    assert control.beat([run(other)]) == set()
    assert rows(file, "async_cancellation") == []


def garbage(file: Path) -> None:
    file.write_bytes(b"not a database" * 100)


@pytest.fixture(params=[Path.mkdir, garbage])
def unusable(request: pytest.FixtureRequest, file: Path) -> Path:
    """Something is in its place that SQLite cannot open, or cannot read."""
    request.param(file)
    return file


def test_where_it_cannot_be_used_cancel_says_so_and_names_it(unusable: Path) -> None:
    job, waiting = running_job(), schedule(nothing)
    with pytest.raises(NoticesUnavailable, match=str(unusable)):
        job.cancel()
    assert waiting.cancel() is True
    with pytest.raises(NoticesUnavailable, match=str(unusable)):
        Job.objects.running()
    assert health()["queue"]["running"] is None


def test_where_it_cannot_be_used_the_commands_do_without_it_or_say_so(
    unusable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = running_job()
    call_command("jobs", "--json")
    shown = capsys.readouterr()
    assert json.loads(shown.out)["id"] == job.pk
    assert str(unusable) in shown.err
    for arguments in (["jobs", "--state", "running"], ["cancel", str(job.pk)]):
        with pytest.raises(CommandError, match=str(unusable)) as refused:
            call_command(*arguments)
        assert refused.value.returncode == 1
    assert capsys.readouterr() == ("", "")


def test_where_it_cannot_be_used_a_parent_says_so_once_and_goes_on(
    unusable: Path, caplog: pytest.LogCaptureFixture, flush: Callable[..., Any]
) -> None:
    control, job = Control("default", ME), schedule(note)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert control.beat([run(job)]) == set()
        control.clear()
    [record] = caplog.records
    assert str(unusable) in record.getMessage()
    assert flush().status == 0
    job.refresh_from_db()
    assert job.state == "executed"


def test_when_it_can_be_used_again_everything_is_told(file: Path, control: Control) -> None:
    file.mkdir()
    job = schedule(nothing)
    control.beat([run(job)])
    file.rmdir()
    control.beat([run(job)])
    assert [row["job_id"] for row in rows(file, "async_running")] == [job.pk]


def test_it_is_closed_before_a_fork_and_open_again_after(file: Path, control: Control) -> None:
    job = schedule(nothing)
    control.beat([run(job)])
    close_connections()
    descriptors = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(file) not in descriptors
    assert control.beat([run(job)]) == set()
    assert [row["job_id"] for row in rows(file, "async_running")] == [job.pk]


def test_it_is_found_beside_the_file_that_a_link_or_an_uri_names(
    database: Path, tmp_path: Path, file: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.sqlite3"
    link.symlink_to(database)
    for name in (str(link), f"file:{database}?cache=private"):
        connection.close()
        connection.settings_dict["NAME"] = name
        running_job().cancel()
    assert len(rows(file, "async_cancellation")) == 2
    assert os.listdir(link.parent) == ["link.sqlite3"]


def test_two_who_make_it_at_once_make_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here somebody else is quicker, at the last moment."""
    link = os.link
    first, second = running_job(), running_job()

    def quicker(source: str, target: Path) -> None:
        monkeypatch.undo()
        elsewhere(Job.objects.get(pk=first.pk).cancel)
        link(source, target)

    monkeypatch.setattr(os, "link", quicker)
    second.cancel()
    found = rows(file, "async_cancellation")
    assert [row["job_id"] for row in found] == [first.pk, second.pk]
    assert [name for name in os.listdir(file.parent) if "-async" in name] == [file.name]


def cancel_and_close(job: Job) -> bool:
    """Django keeps connections to a database in memory open."""
    try:
        return job.cancel()
    finally:
        BaseDatabaseWrapper.close(connection)


def test_beside_a_database_in_memory_it_is_in_memory() -> None:
    name = "file:memorydb_own?mode=memory&cache=shared"
    usual = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(name, uri=True)) as kept:
        connection.ensure_connection()
        connection.connection.backup(kept)
        connection.close()
        connection.settings_dict["NAME"] = name
        try:
            job = running_job()
            assert elsewhere(cancel_and_close, job) is False
            control = Control("default", ME)
            assert control.beat([run(job)]) == {job.pk}
            with closing(Sidecar("default")) as board:
                assert [row.job_id for row in board.runs()] == [job.pk]
            control.clear()
        finally:
            BaseDatabaseWrapper.close(connection)
            connection.settings_dict["NAME"] = usual


def test_nothing_is_left_open(file: Path) -> None:
    """A connection that is collected open is a warning, and so an error here."""
    job = running_job()
    job.cancel()
    assert list(Job.objects.running()) == []
    job.refresh_from_db()
    Control("default", ME).clear()
    gc.collect()
