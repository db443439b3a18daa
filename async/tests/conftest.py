"""What the tests of the queue share."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from forkpool import interrupts

if TYPE_CHECKING:
    from suite.browsing import Browser

DEADLINE = 30.0
"""Seconds that a test waits for an event before it gives the event up for lost."""


BROWSED = {"ALLOWED_FUNCTIONS": ["suite."], "SCHEDULABLE": ["suite.jobs."]}
"""The queue's settings in the server that the browser looks at."""


class Flushed:
    """What a run of ``flush_queue`` said, and its exit status."""

    def __init__(self, status: int, output: str, error: str) -> None:
        self.status = status
        self.output = output
        self.error = error


@pytest.fixture
def flush() -> Callable[..., Flushed]:
    """Run ``flush_queue`` with these options, as an operator would, and return what it said."""

    def run(**options: Any) -> Flushed:
        out = io.StringIO()
        try:
            call_command("flush_queue", stdout=out, stderr=io.StringIO(), **options)
        except CommandError as error:
            return Flushed(error.returncode, out.getvalue(), str(error))
        return Flushed(0, out.getvalue(), "")

    return run


def wait_until(happened: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait for an event: return what ``happened`` gives as soon as it is true, or fail."""
    end = time.monotonic() + deadline
    while not (result := happened()):
        assert time.monotonic() < end, f"{what} did not happen within {deadline} s"
        time.sleep(0.005)
    return result


@pytest.fixture(autouse=True)
def _nobody_is_interrupted() -> Iterator[None]:
    """After a job that was interrupted in this process, where no pool begins the next one."""
    yield
    interrupts.end()


@pytest.fixture(scope="session", autouse=True)
def _server_is_there(request: pytest.FixtureRequest) -> None:
    """Skip, with the reason, where the chosen server is missing; but never in CI."""
    if connection.vendor == "sqlite":
        return
    try:
        request.getfixturevalue("django_db_blocker").unblock()
        _knock()
    except OperationalError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no {connection.vendor} server: {error}")
    finally:
        request.getfixturevalue("django_db_blocker").restore()


def _knock() -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.fixture(scope="session")
def _window(django_db_setup: None) -> Iterator[Browser]:
    """One browser and one server for all tests: each takes a second to start."""
    from suite import browsing

    if absent := browsing.missing():
        assert os.environ.get("CI") != "true", absent
        pytest.skip(absent)
    with browsing.server(BROWSED) as address, browsing.chromium() as driver:
        yield browsing.Browser(driver, address)


@pytest.fixture
def browser(transactional_db: None, _window: Browser) -> Iterator[Browser]:
    """A browser that has visited nothing; whatever it complains of fails the test."""
    _window.clear()
    yield _window
    assert _window.complaints() == []
