"""Which stored names lead to a function, and which are refused before anything is imported."""

from __future__ import annotations

import json
import os.path
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from django_async import schedule
from django_async.api import remove_old_jobs
from django_async.errors import FunctionNotAllowed, UnknownFunction
from django_async.models import Error, Job
from django_async.utils import SAFE_BUILTINS, canonical, object_at_end_of_path
from suite import calls, jobs

NEVER_IMPORTED = "this"
"""A module of the standard library that nobody imports; importing it prints."""


def only(*names: str) -> Any:
    """With these as the only functions allowed."""
    return override_settings(ASYNC={"ALLOWED_FUNCTIONS": list(names)})


def stored(name: str, *args: Any) -> Job:
    """A job whose name was written into the table by whoever can."""
    return Job.objects.create(name=name, args=json.dumps(args))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("suite.calls.plain", calls.plain),
        ("suite.calls.Clerk.Drawer.static", calls.Clerk.Drawer.static),
        ("suite.calls.reexported", jobs.note),
        ("os.path.join", os.path.join),
        ("len", len),
        ("async.api.remove_old_jobs", remove_old_jobs),
        ("django_async.api.remove_old_jobs", remove_old_jobs),
    ],
)
def test_a_path_leads_to_its_function(path: str, found: Any) -> None:
    assert object_at_end_of_path(path) is found


@pytest.mark.parametrize(
    "path",
    [
        "logging.os.system",
        "suite.calls.threading.Thread",
        "suite.calls.multiprocessing.get_context",
        "django_async.api.cancelling.cancel",
        "json.decoder.scanner.make_scanner",
    ],
)
def test_no_path_walks_from_one_module_into_another(path: str) -> None:
    with pytest.raises(UnknownFunction, match="walks from one module into another"):
        object_at_end_of_path(path)


@pytest.mark.parametrize(
    "path",
    [
        f"{NEVER_IMPORTED}.__class__",
        f"{NEVER_IMPORTED}.__init__.__globals__",
        f"{NEVER_IMPORTED}.s.__class__.x",
        f"{NEVER_IMPORTED}..s",
        f"{NEVER_IMPORTED}.s()",
        f"{NEVER_IMPORTED}.s; x",
        f"{NEVER_IMPORTED}. s",
        f"/{NEVER_IMPORTED}.s",
        NEVER_IMPORTED,
    ],
)
def test_a_malformed_name_is_refused_before_anything_is_imported(path: str) -> None:
    assert NEVER_IMPORTED not in sys.modules
    for refuses in (schedule, object_at_end_of_path):
        with pytest.raises(UnknownFunction):
            refuses(path)
    assert NEVER_IMPORTED not in sys.modules


@pytest.mark.parametrize(
    "name", ["eval", "exec", "compile", "open", "__import__", "getattr", "setattr", "input", "vars"]
)
def test_a_bare_name_reaches_no_builtin_but_the_safe_ones(name: str) -> None:
    with pytest.raises(UnknownFunction):
        object_at_end_of_path(name)


@pytest.mark.parametrize("name", sorted(SAFE_BUILTINS))
def test_a_bare_name_means_a_safe_builtin(name: str) -> None:
    assert object_at_end_of_path(name) is getattr(sys.modules["builtins"], name)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_module.f", "no_such_module"),
        ("suite.no_such_module.f", "suite.no_such_module.f"),
        ("suite.calls.no_such_function", "no_such_function"),
        ("suite.calls.number", "int"),
        ("suite.calls", "suite.calls"),
    ],
)
def test_what_leads_to_no_function_says_so(path: str, said: str) -> None:
    with pytest.raises(UnknownFunction) as refusal:
        object_at_end_of_path(path)
    assert path in str(refusal.value)
    assert said in str(refusal.value)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["logging.os.system", "os.__class__", "eval", "two words"])
def test_a_forged_name_in_the_table_is_an_ordinary_failure(name: str) -> None:
    job = stored(name, "exit 1")
    with pytest.raises(UnknownFunction):
        job.execute()
    assert job.state == "failed"
    assert "UnknownFunction" in Error.objects.get(job=job).exception


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("async.api.schedule", "django_async.api.schedule"),
        ("async.tests.test_models._fn", "django_async.tests.test_models._fn"),
        ("asyncio.run", "asyncio.run"),
        ("shop.async.f", "shop.async.f"),
        ("async", "async"),
    ],
)
def test_names_of_0_7_3_are_those_of_this_package(old: str, new: str) -> None:
    assert canonical(old) == new


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("allowed", "function"),
    [
        (["suite.calls."], calls.plain),
        (["suite.calls"], calls.plain),
        (["suite.calls.plain"], "suite.calls.plain"),
        (["shop.", "suite.calls.Clerk"], calls.Clerk.Drawer.static),
        (["suite."], calls.Trainee.of_class),
        (["len"], "len"),
        ([], remove_old_jobs),
        ([], "async.api.remove_old_jobs"),
    ],
)
def test_what_is_allowed_can_be_scheduled_and_found(allowed: list[str], function: Any) -> None:
    with only(*allowed):
        assert callable(object_at_end_of_path(schedule(function).name))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("allowed", "function"),
    [
        ([], calls.plain),
        (["suite.jobs."], calls.plain),
        (["suite.call"], calls.plain),
        (["suite.calls.pla"], "suite.calls.plain"),
        (["calls.plain"], calls.plain),
        (["suite.calls."], calls.reexported),
        (["suite."], "len"),
        (["suite."], f"{NEVER_IMPORTED}.s"),
    ],
)
def test_what_is_not_allowed_is_refused_at_the_call(allowed: list[str], function: Any) -> None:
    with only(*allowed), pytest.raises(FunctionNotAllowed, match="ALLOWED_FUNCTIONS"):
        schedule(function)
    assert not Job.objects.exists()
    assert NEVER_IMPORTED not in sys.modules


@pytest.mark.django_db
def test_what_is_not_allowed_is_refused_at_its_execution_too() -> None:
    job = schedule(calls.plain)
    forged = stored(f"{NEVER_IMPORTED}.s")
    with only("suite.jobs."):
        for refused in (job, forged):
            with pytest.raises(FunctionNotAllowed):
                refused.execute()
    assert NEVER_IMPORTED not in sys.modules
    assert Error.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["suite.calls.reexported", "suite.calls.prepared"])
def test_an_allowed_path_to_what_is_defined_elsewhere_is_refused(path: str) -> None:
    with only("suite.calls."):
        job = schedule(path)
        with pytest.raises(FunctionNotAllowed):
            job.execute()
    assert job.state == "failed"


@pytest.mark.django_db
def test_a_back_off_has_to_be_allowed_too() -> None:
    with only("suite.jobs."), pytest.raises(FunctionNotAllowed):
        schedule(jobs.note, meta={"backoff": "suite.calls.plain"})


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"ALOWED_FUNCTIONS": []}, ["ALOWED_FUNCTIONS", "ALLOWED_FUNCTIONS"]),
        ({"batch_size": 5}, ["batch_size", "BATCH_SIZE"]),
        ({"ALLOWED_FUNCTIONS": "suite."}, ["ALLOWED_FUNCTIONS"]),
        ({"ALLOWED_FUNCTIONS": [1]}, ["ALLOWED_FUNCTIONS"]),
        ({"ALLOWED_FUNCTIONS": [""]}, ["ALLOWED_FUNCTIONS"]),
        ({"BATCH_SIZE": 0}, ["BATCH_SIZE"]),
        ({"BATCH_SIZE": True}, ["BATCH_SIZE"]),
        ({"BATCH_SIZE": 0, "ALLOWED_FUNCTION": 1}, ["BATCH_SIZE", '"ALLOWED_FUNCTIONS"']),
        ({"MAX_CRASHES": 0}, ["MAX_CRASHES", "from 1, or None"]),
        ({"MAX_CRASHES": "3"}, ["MAX_CRASHES"]),
        ({"COALESCE": 1}, ["COALESCE", "True or False"]),
        ({"TIMEOUT": 0}, ['"TIMEOUT"', "above 0, or None"]),
        ({"TIMEOUT": "1 h"}, ['"TIMEOUT"']),
        ({"TIMEOUT_GRACE": -1}, ["TIMEOUT_GRACE", "from 0"]),
        ({"TIMEOUT_GRACE": None, "TIMEOUTS": 1}, ["TIMEOUT_GRACE", '"TIMEOUT"']),
        ({"SCHEDULABLE": None}, ["SCHEDULABLE", "list of prefixes"]),
        ({"SCHEDULABLE": "suite."}, ["SCHEDULABLE"]),
        ({"HTTP_TOKEN": ""}, ["HTTP_TOKEN", "20 characters"]),
        ({"HTTP_TOKEN": "x" * 19}, ["HTTP_TOKEN"]),
        ({"HTTP_TOKEN": "with a space in between"}, ["HTTP_TOKEN"]),
        ({"HTTP_TOKEN": b"x" * 40}, ["HTTP_TOKEN"]),
        ([], ["dict", "list"]),
    ],
    ids=str,
)
@pytest.mark.django_db(databases="__all__")  # some servers are asked what they can do
def test_wrong_settings_are_all_reported(setting: Any, said: list[str]) -> None:
    with override_settings(ASYNC=setting):
        with pytest.raises(SystemCheckError) as check:
            call_command("check")
        with pytest.raises(ImproperlyConfigured) as use:
            schedule(calls.plain)
    for word in said:
        assert word in str(check.value)
        assert word in str(use.value)
    assert "async.E001" in str(check.value)
