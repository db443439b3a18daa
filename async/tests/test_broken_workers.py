"""A job that breaks its worker's process costs that process, and the queue goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections

from django_async import detached, schedule
from django_async.models import Job
from suite import abuse, jobs
from suite.models import Note

pytestmark = pytest.mark.django_db(transaction=True)

Flush = Callable[..., Any]

WRAPPER: Any = type(connections["default"])

in_every_way = pytest.mark.parametrize("meta", [{}, {"atomic": False}], ids=["atomic", "detached"])


def break_before_another(flush: Flush, what: str, meta: dict[str, Any]) -> Job:
    """The job that broke its process, after a pass in which another job was executed."""
    job = schedule(abuse.break_own_process, [what], meta=meta, priority=9)
    other = schedule(jobs.note)
    flush(workers=1, keep_going=True)
    other.refresh_from_db()
    assert other.state == "executed"
    job.refresh_from_db()
    return job


@in_every_way
def test_an_attempt_that_breaks_off_is_a_death_and_the_queue_goes_on(
    flush: Flush, meta: dict[str, Any]
) -> None:
    job = break_before_another(flush, "interpreter", meta)
    assert (job.state, job.attempts, job.crashes) == ("failed", 2, 2)
    for error in job.errors.all():
        assert "exited with code 70" in error.exception
    assert Note.objects.filter(text="broken").count() == (2 if meta else 0)


@in_every_way
@pytest.mark.parametrize("what", ["clock", "files"])
def test_whatever_a_job_breaks_its_effects_are_there_if_it_was_executed_and_only_then(
    flush: Flush, monkeypatch: pytest.MonkeyPatch, what: str, meta: dict[str, Any]
) -> None:
    monkeypatch.setattr(detached, "PATIENCE", 0.5)
    job = break_before_another(flush, what, meta)
    was_executed = job.state == "executed"
    assert was_executed or job.errors.exists()
    if not meta:
        assert Note.objects.filter(text="broken").count() == was_executed


def refuse_workers(file: Path, full: Path, times: int) -> Callable[[Any], None]:
    """A server that has no place for sessions of workers from when it is full on, so many times;
    who has asked is in the file."""
    parent, connect = os.getpid(), WRAPPER.connect

    def refuse(wrapper: Any) -> None:
        is_meant = os.getpid() != parent and full.exists()
        if is_meant and len(file.read_text().split()) < times:
            with file.open("a") as asked:
                asked.write(f"{os.getpid()}\n")
            raise OperationalError("too many connections")
        connect(wrapper)

    return refuse


@pytest.mark.parametrize("had_session", [True, False])
def test_a_process_that_finds_no_database_is_replaced_if_it_had_found_it_before(
    flush: Flush, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, had_session: bool
) -> None:
    """It may have broken something since; but if it never did, the next one would fare no better,
    and one fork would follow the other as long as the server has no place."""
    asked, full = tmp_path / "asked", tmp_path / "full"
    asked.write_text("")
    monkeypatch.setattr(WRAPPER, "connect", refuse_workers(asked, full, 4))
    if had_session:
        schedule(abuse.close_at_commit, [str(full)], priority=9)
    else:
        full.touch()
    job = schedule(jobs.note)
    flush(workers=1)
    job.refresh_from_db()
    assert job.state == "executed"
    assert len(set(asked.read_text().split())) == 1 + had_session


def test_a_queue_from_which_no_job_can_be_claimed_ends_the_pass_and_costs_no_job(
    flush: Flush, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OperationalError("permission denied for table async_job")

    monkeypatch.setattr("django_async.trouble.is_outage", lambda *_: False)
    monkeypatch.setattr("django_async.store.claim", refuse)
    job = schedule(jobs.note)
    flushed = flush(workers=1, keep_going=True)
    assert flushed.status == 1
    assert f"Job {job.pk} cannot be claimed: permission denied" in flushed.error
    job.refresh_from_db()
    assert (job.state, job.attempts, job.errors.count()) == ("due", 0, 0)
