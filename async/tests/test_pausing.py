"""Pausing queues, from code and from the command line."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from django_async import schedule
from django_async.api import health, pause_queue, paused_queues, resume_queue
from django_async.models import Job, Pause
from suite.jobs import nothing
from suite.together import elsewhere

pytestmark = pytest.mark.django_db

Flush = Callable[..., Any]


def command(name: str, *arguments: str) -> tuple[str, str]:
    """What the command says, and what it complains about."""
    out, err = io.StringIO(), io.StringIO()
    call_command(name, *arguments, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue().strip()


def test_each_pause_is_undone_by_its_name() -> None:
    pause_queue("mail")
    pause_queue("mail")
    pause_queue()
    assert paused_queues() == {"mail", None}
    assert resume_queue("mail") is True
    assert resume_queue("mail") is False
    assert paused_queues() == {None}
    assert resume_queue() is True
    assert paused_queues() == set()


def test_names_are_compared_by_their_characters() -> None:
    for name in ("mail", "Mail", "mäil", "mail "):
        pause_queue(name)
    assert paused_queues() == {"mail", "Mail", "mäil", "mail "}
    assert resume_queue("MAIL") is False
    assert resume_queue("mail") is True
    assert paused_queues() == {"Mail", "mäil", "mail "}


@pytest.mark.parametrize(
    ("name", "error"),
    [("", TypeError), (7, TypeError), ("a\0b", ValueError), ("a" * 101, ValueError)],
)
def test_what_is_no_name_is_refused(name: Any, error: type[Exception]) -> None:
    for verb in (pause_queue, resume_queue):
        with pytest.raises(error, match="queue"):
            verb(name)
    assert not Pause.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_it_is_part_of_the_callers_transaction() -> None:
    with transaction.atomic():
        pause_queue("mail")
        assert paused_queues() == {"mail"}
        transaction.set_rollback(True)
    assert paused_queues() == set()
    pause_queue("mail")
    with transaction.atomic():
        resume_queue("mail")
        transaction.set_rollback(True)
    assert paused_queues() == {"mail"}


@pytest.mark.django_db(transaction=True)
def test_a_pause_that_is_not_committed_yet_holds_nobody_up() -> None:
    pause_queue("news")
    with transaction.atomic():
        list(Pause.objects.all())
        assert elsewhere(paused_queues) == {"news"}
    assert elsewhere(resume_queue, "news") is True


@pytest.mark.django_db(databases=["default", "other"])
def test_in_another_database() -> None:
    pause_queue("mail", using="other")
    assert (paused_queues(), paused_queues(using="other")) == (set(), {"mail"})
    assert command("resume_queue", "mail", "--database=other") == ("No queue is paused.", "")


def test_health_tells_what_is_paused_and_since_when() -> None:
    pause_queue("mail")
    pause_queue()
    since = {pause.queue or None: pause.since.isoformat() for pause in Pause.objects.all()}
    told = {pause["queue"]: pause["since"] for pause in health()["queue"]["paused"]}
    assert told == since
    assert set(told) == {"mail", None}


def test_the_commands_say_what_is_paused() -> None:
    for name in ("mail", "news"):
        schedule(nothing, queue=name)
    assert command("pause_queue", "mail", "news") == ("Paused: mail, news.", "")
    assert command("pause_queue", "--all") == ("Paused: every queue, mail, news.", "")
    assert command("resume_queue", "--all") == ("Paused: mail, news.", "")
    said, complaint = command("resume_queue", "mail", "default")
    assert (said, "default" in complaint) == ("Paused: news.", True)
    assert command("resume_queue", "news") == ("No queue is paused.", "")


def test_a_queue_without_jobs_is_paused_with_a_notice() -> None:
    """It may get its first job yet; and it may be misspelled."""
    schedule(nothing, queue="Mail")
    said, notice = command("pause_queue", "mail", "Mail")
    assert said == "Paused: Mail, mail."
    assert notice.startswith("mail: no job of it waits")
    assert len(notice.splitlines()) == 1


def test_a_queue_whose_jobs_wait_for_their_time_or_ended_lately_has_jobs(flush: Flush) -> None:
    schedule(nothing, queue="mail", run_after=timedelta(days=9))
    schedule(nothing, queue="news")
    flush()
    Job.objects.executed().delete()
    assert command("pause_queue", "mail", "news") == ("Paused: mail, news.", "")


def test_the_notice_names_the_queue_that_may_be_meant(flush: Flush) -> None:
    schedule(nothing, queue="newsletter")
    flush()
    _, notice = command("pause_queue", "newsleter")
    assert notice.endswith("Did you mean 'newsletter'?")


@pytest.mark.parametrize("name", ["pause_queue", "resume_queue"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--all"),
        (["mail", "--all"], "--all"),
        (["mail", "--database", "elsewhere"], "'elsewhere'"),
    ],
)
def test_the_commands_refuse_what_says_too_little_or_too_much(
    name: str, arguments: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        command(name, *arguments)
    assert not Pause.objects.exists()
