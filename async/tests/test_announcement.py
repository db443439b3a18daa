"""What a service says when it has begun."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.db import connection

from django_async import __version__
from django_async.announcement import AWAY, Announcer
from django_async.models import Parent
from suite.processes import manage
from suite.service import Service
from suite.together import DEADLINE, wait_until

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="only PostgreSQL notifies"
)
BEGINS = f"django-async {__version__} serves: default "
HOW = {
    "postgresql": "hears notifications",
    "mysql": "polls every 0.05 to 1 s",
    "sqlite": "looks for changes every 0.05 s",
}[connection.vendor]
ON_SQLITE = connection.vendor == "sqlite"


def announced(
    caplog: pytest.LogCaptureFixture, service: Service, *queues: str, workers: int = 1
) -> tuple[list[str], list[logging.LogRecord]]:
    """What a service says and logs in a minute."""
    said: list[str] = []
    with caplog.at_level(logging.INFO, "django_async.service"):
        announcer = Announcer(said.append, workers, queues)
        service.run(lambda: service.time.now > 60, announcer)
    return said, [record for record in caplog.records if record.name == "django_async.service"]


@pytest.mark.django_db
def test_it_is_said_and_logged_once_with_its_parts_as_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said, [record] = announced(
        caplog, Service(ear=True, watches=ON_SQLITE), "mail", "bad\nname", workers=3
    )
    assert said == [f"{BEGINS}{HOW}; queues: 'mail', 'bad\\nname'; workers: 3."]
    assert (record.getMessage(), record.levelno) == (said[0], logging.INFO)
    assert {
        "version": __version__,
        "workers": 3,
        "queues": ["mail", "bad\nname"],
        "databases": {"default": HOW},
    }.items() <= record.__dict__.items()


@pytest.mark.django_db
def test_without_a_choice_it_serves_all_queues(caplog: pytest.LogCaptureFixture) -> None:
    said, [record] = announced(caplog, Service(ear=True, watches=ON_SQLITE), workers=0)
    assert said == [f"{BEGINS}{HOW}; queues: all; workers: none, jobs run in this process."]
    assert record.__dict__["queues"] is None


@on_postgresql
@pytest.mark.django_db
def test_with_notifications_switched_off_it_polls(
    caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.ASYNC = {"NOTIFY": False, "POLL_MIN": 0.2, "POLL_MAX": 30}
    said, _ = announced(caplog, Service(ear=True))
    assert said == [f"{BEGINS}polls every 0.2 to 30 s; queues: all; workers: 1."]


@pytest.mark.django_db(databases=["default", "other"])
def test_one_of_several_databases_that_is_away_is_named_as_such(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service("default", "other", ear=True, watches=ON_SQLITE)
    service.lanes[1].access.outage.note("it is to be tried again later")
    said, _ = announced(caplog, service)
    assert said == [f"{BEGINS}{HOW}; other {AWAY}; queues: all; workers: 1."]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("verbosity", "lines"), [(0, 0), (1, 1)])
def test_the_operator_reads_it_while_the_service_runs(verbosity: int, lines: int) -> None:
    """Through a pipe as well, which Python would keep to itself."""
    with manage("flush_queue", "--forever", "--workers=1", f"-v{verbosity}") as process:
        assert process.stdout
        if lines:
            assert process.stdout.readline() == f"{BEGINS}{HOW}; queues: all; workers: 1.\n"
        wait_until(Parent.objects.exists, "its start")
        process.terminate()
        rest, errors = process.communicate(timeout=DEADLINE)
    assert (rest.count("serves"), errors) == (0, "")
