"""People may schedule what the settings name, and nothing else."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.test import override_settings

from django_async.byhand import check_schedulable, may_be_scheduled, schedule_by_hand
from django_async.conf import Settings
from django_async.errors import FunctionNotAllowed, UnknownFunction
from django_async.models import Job

NEVER_IMPORTED = "antigravity"
"""A module of the standard library that nobody imports; importing it opens a browser."""


def schedulable(*names: str, **others: Any) -> Any:
    """With these as the only functions that people may schedule."""
    return override_settings(ASYNC={"SCHEDULABLE": list(names), **others})


def test_without_the_setting_people_may_schedule_nothing() -> None:
    assert not may_be_scheduled("suite.jobs.note")
    assert not may_be_scheduled("print")
    with pytest.raises(FunctionNotAllowed, match="SCHEDULABLE"):
        check_schedulable("suite.jobs.note")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("suite.jobs.note", ["suite.jobs."]),
        ("suite.jobs.note", ["suite.calls.", "suite.jobs.note"]),
        ("suite.calls.Clerk.static", ["suite.calls.Clerk"]),
        ("suite.calls.reexported", ["suite."]),
        ("async.api.remove_old_jobs", ["django_async.api.remove_old_jobs"]),
        ("print", ["print"]),
    ],
)
def test_people_may_schedule_what_a_prefix_has(path: str, names: list[str]) -> None:
    with schedulable(*names):
        assert may_be_scheduled(path)


@pytest.mark.parametrize(
    "path",
    [
        "suite.jobs.notes",  # there is none
        "suite.calls.plain",
        "suite.jobs",
        "suite.jobs.note.__globals__",
        "suite.jobs.note; import os",
        "<script>",
        "suite.jobs.note\n",
        "\u202esuite.jobs.note",
        "",
        "print",
        "x" * 1_000_000,
    ],
    ids=lambda path: repr(path[:40]),
)
def test_people_may_not_schedule_what_no_prefix_has(path: str) -> None:
    with schedulable("suite.jobs.note"):
        assert not may_be_scheduled(path)


def test_an_allowed_module_does_not_lend_out_what_it_imports() -> None:
    with schedulable("suite.calls."):
        assert may_be_scheduled("suite.calls.plain")
        assert not may_be_scheduled("suite.calls.reexported")


def test_a_refused_module_is_not_imported() -> None:
    with schedulable("suite.jobs."), pytest.raises(FunctionNotAllowed):
        check_schedulable(f"{NEVER_IMPORTED}.fly")
    assert NEVER_IMPORTED not in sys.modules


def test_what_no_job_may_be_people_may_not_schedule_either() -> None:
    with schedulable("suite.", ALLOWED_FUNCTIONS=["suite.calls."]):
        assert may_be_scheduled("suite.calls.plain")
        assert not may_be_scheduled("suite.jobs.note")


@pytest.mark.django_db
def test_a_job_by_hand_is_as_schedule_makes_it() -> None:
    meta = {"max_attempts": 3, "timeout": 5, "atomic": False, "backoff": 2}
    with schedulable("suite.jobs.note"):
        job = schedule_by_hand("suite.jobs.note", meta, args=["text"], priority=7, queue="mail")
    kept = Job.objects.get(pk=job.pk)
    assert (kept.name, kept.args, kept.priority, kept.queue) == (
        *("suite.jobs.note", '["text"]'),
        *(7, "mail"),
    )
    assert '"max_attempts": 3' in kept.meta


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("meta", "error", "said"),
    [
        ({"backoff": "suite.calls.plain"}, FunctionNotAllowed, "SCHEDULABLE"),
        ({"backoff": "nowhere"}, UnknownFunction, "nowhere"),
        ({"task": {"backend": "os.abort"}}, ValueError, "task"),
        ({"timeout": -1}, ValueError, "timeout"),
        (["backoff"], TypeError, "meta"),
    ],
)
def test_what_is_said_about_attempts_leads_to_no_other_function(
    meta: Any, error: type[Exception], said: str
) -> None:
    with schedulable("suite.jobs.note"), pytest.raises(error, match=said):
        schedule_by_hand("suite.jobs.note", meta)
    assert not Job.objects.exists()


def test_the_token_is_not_shown_with_the_settings() -> None:
    assert "secret" not in repr(Settings(http_token="secret" * 4))
