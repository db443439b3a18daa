"""The tests that Django has for its task framework, run against this backend.

They come with Django's sources on PyPI, which pip downloads once. What is substituted in them: the
backends; the base of a test case, since this backend has a database; and, before Django 6.0, the
names of the framework, which are the backport's there. (The backport's own tests are on no index.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest
from collections.abc import Collection
from pathlib import Path
from typing import Any

import django
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases  # type: ignore[attr-defined]  # of Django's own

from django_async.models import Job
from django_async.tasks import AsyncBackend, testing
from django_async.tasks.framework import AnyResult, AnyTask

HAS_TASKS = django.VERSION >= (6, 0)
FOR_THE_BACKPORT = "6.1.3"
"""Which Django's tests the backport is held to: 0.12 has what 6.1 has."""

TESTS_OF = django.__version__ if HAS_TASKS else FOR_THE_BACKPORT
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "django-async", "sdists")

IN_MEMORY = "It sets the status of a result that the DummyBackend keeps in memory."
REFUSES_RESULTS = "It asserts that results cannot be looked up. Here they can."
EXCLUDED = {
    "test_dummy_backend.DummyBackendTestCase.test_refresh_result": IN_MEMORY,
    "test_dummy_backend.DummyBackendTestCase.test_refresh_result_async": IN_MEMORY,
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_get_result": REFUSES_RESULTS,
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_refresh_result": REFUSES_RESULTS,
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_pass_run_after": (
        "It asserts that a moment is refused. Here it is heeded."
    ),
    "test_immediate_backend.ImmediateBackendTestCase.test_throws_keyboard_interrupt": (
        "It asserts that a KeyboardInterrupt gets out of enqueue(). A worker records what its task"
        " raises, and goes on."
    ),
    "test_immediate_backend.ImmediateBackendTransactionTestCase"
    ".test_doesnt_wait_until_transaction_commit_by_default": (
        "It asserts that the task has run inside of the caller's transaction. Here it is written"
        " there (see the test of this name for the DummyBackend), and runs after the commit."
    ),
    "test_tasks.TaskTestCase.test_refresh_result": (
        "Its coroutine calls the synchronous refresh(), which Django refuses where there is a"
        " database. What it tests of arefresh() is in test_tasks.py of this suite."
    ),
}
"""What does not apply. Each of these has to fail: the list is as short as it can be."""

NOT_IN_THE_BACKPORT = "What it tests came with Django 6.1, and django-tasks 0.12 has not got it."
EXCLUDED_BEFORE_DJANGO_6 = {
    "test_tasks.TaskTestCase.test_pickle_task": NOT_IN_THE_BACKPORT,
    "test_tasks.TaskTestCase.test_pickle_task_result": NOT_IN_THE_BACKPORT,
    "test_tasks.TaskTestCase.test_run_after_in_decorator": NOT_IN_THE_BACKPORT,
    "test_tasks.TaskTestCase.test_unpickle_arbitrary_string": NOT_IN_THE_BACKPORT,
    "test_tasks.TaskTestCase.test_unpickle_non_task_object": NOT_IN_THE_BACKPORT,
}

EXCLUDED_BEFORE_PYTHON_3_12 = {
    "test_custom_backend.CustomBackendTestCase.test_no_enqueue": (
        "It looks for the words with which Python refuses an abstract class since 3.12."
    ),
}

SUBSTITUTED = [
    (r"django\.tasks\.backends\.(?:dummy|immediate)\b", "suite.conformance"),
    (r"\bSimpleTestCase\b", "TestCase"),
    (r"available_apps = \[\]", 'available_apps = ["django_async"]'),
]
OF_THE_BACKPORT = [
    (
        r"from django\.tasks import Task, ",
        "from django_tasks.base import Task\nfrom django.tasks import ",
    ),
    (r"\bdjango\.tasks\b", "django_tasks"),
    (r"\bInvalidTask\b", "InvalidTaskError"),
    (r"\bInvalidTaskBackend\b", "InvalidTaskBackendError"),
    (r"support async Tasks", "support async tasks"),
]


class DummyBackend(AsyncBackend):
    """With the two names by which tests look at what Django's was given."""

    def __init__(self, alias: str, params: Any) -> None:
        super().__init__(alias, params)
        self.results: list[AnyResult] = []

    def enqueue(self, task: AnyTask, args: Any, kwargs: Any) -> AnyResult:
        self.results.append(super().enqueue(task, args, kwargs))
        return self.get_result(self.results[-1].id)

    def clear(self) -> None:
        self.results.clear()
        Job.objects.all().delete()


class ImmediateBackend(AsyncBackend):
    """With a worker at hand that takes each task at once."""

    def enqueue(self, task: AnyTask, args: Any, kwargs: Any) -> AnyResult:
        result = super().enqueue(task, args, kwargs)
        testing.run_tasks(using=self.using)
        result.refresh()
        return result


class Runner(DiscoverRunner):
    """Django's, which expects that what is excluded fails."""

    def build_suite(self, *args: Any, **kwargs: Any) -> unittest.TestSuite:
        suite: unittest.TestSuite = super().build_suite(*args, **kwargs)
        for test in iter_test_cases(suite):
            if test.id().removeprefix("tasks.") in excluded():
                test.__unittest_expecting_failure__ = True
        return suite


def excluded() -> Collection[str]:
    """The names of the tests that do not apply to this Django."""
    names = {*EXCLUDED}
    if not HAS_TASKS:
        names |= {*EXCLUDED_BEFORE_DJANGO_6}
    if sys.version_info < (3, 12):
        names |= {*EXCLUDED_BEFORE_PYTHON_3_12}
    return names


def sources() -> Path:
    """The sources of Django, as pip gives them. Raises CalledProcessError if it does not."""
    kept = CACHE / f"django-{TESTS_OF}.tar.gz"
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as place:
            options = ("--no-deps", "--no-binary=:all:", "--ignore-requires-python", "--retries=1")
            command = (sys.executable, "-m", "pip", "download", *options, "--dest", place)
            subprocess.run(
                [*command, f"django=={TESTS_OF}"], capture_output=True, text=True, check=True
            )
            next(Path(place).glob("*.tar.gz")).replace(kept)
    return kept


def unpack(archive: Path, place: Path) -> None:
    """Put the package of tests into the directory, substituted."""
    folder = f"django-{TESTS_OF}/tests/tasks/"
    (place / "tasks").mkdir()
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if member.isfile() and member.name.lower().startswith(folder):
                content = tar.extractfile(member)
                assert content is not None
                name = Path(member.name).name
                (place / "tasks" / name).write_text(substituted(content.read().decode()))


def substituted(code: str) -> str:
    """The code with this backend's names in the place of others."""
    for pattern, name in SUBSTITUTED + ([] if HAS_TASKS else OF_THE_BACKPORT):
        code = re.sub(pattern, name, code)
    return code


def run(place: Path) -> subprocess.CompletedProcess[str]:
    """Run the unpacked tests in a process and on a database of their own."""
    env = dict(os.environ)
    own = {
        "SQLITE_NAME": "suite.sqlite3",
        "POSTGRES_NAME": "test_suite",
        "MYSQL_NAME": "test_suite",
    }
    for name, usual in own.items():
        file = Path(env.get(name, usual))
        env[name] = str(file.with_stem(f"{file.stem}_tasks"))
    here = str(Path(__file__).resolve().parents[1])
    env.update(PYTHONPATH=os.pathsep.join([str(place), here]), PYTHONWARNINGS="error")
    env["DJANGO_SETTINGS_MODULE"] = "suite.settings"
    command = ("django", "test", "tasks", "--noinput", "--testrunner=suite.conformance.Runner")
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
