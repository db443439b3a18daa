"""What a service sees to beside its jobs."""

from __future__ import annotations

import operator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import timezone

from django_async import conf, retention, schedule, upkeep
from django_async.models import Group, Job
from django_async.upkeep import Cleaner, Reloader
from suite import jobs
from suite.service import Service

pytestmark = pytest.mark.django_db

HOUR = 3600.0
OLD = timedelta(hours=2)


def executed(number: int, ago: timedelta, group: Group | None = None) -> set[int]:
    """Jobs that were executed so long ago."""
    made = {schedule(jobs.nothing, group=group).pk for _ in range(number)}
    moment = timezone.now() - ago
    Job.objects.filter(pk__in=made).update(started=moment, executed=moment)
    return made


def cleaned_by(service: Service, seconds: float = 200.0) -> None:
    cleaner = Cleaner(service.lanes[0], HOUR, operator.call)
    service.run(lambda: service.time.now > seconds, cleaner)


def test_a_group_goes_when_all_of_it_is_that_old() -> None:
    old, half = (Group.objects.create(reference=name) for name in ("old", "half"))
    half_old = [schedule(jobs.nothing, group=half) for _ in range(2)]
    executed(2, OLD, old)
    Job.objects.filter(pk=half_old[0].pk).update(
        started=timezone.now(), executed=timezone.now() - OLD
    )
    Job.objects.filter(pk=half_old[1].pk).update(started=timezone.now(), executed=timezone.now())
    cleaned_by(Service())
    assert set(Job.objects.values_list("pk", flat=True)) == {job.pk for job in half_old}
    assert list(Group.objects.values_list("reference", flat=True)) == ["half"]


def test_a_batch_that_fails_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remove, failures = retention.remove_some, [ValueError("for once")]

    def remove_some(*args: Any) -> retention.Step:
        if failures:
            raise failures.pop()
        return remove(*args)

    monkeypatch.setattr(retention, "remove_some", remove_some)
    executed(2, OLD)
    cleaned_by(Service())
    assert not Job.objects.exists()
    assert "ValueError('for once')" in caplog.text


def test_a_change_of_a_file_is_noticed_once_and_ends_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stamps = {tmp_path / "code.py": 1.0}
    monkeypatch.setattr(upkeep, "_stamps", lambda: iter(stamps.items()))
    reloader, service = Reloader(), Service()

    def change() -> None:
        if service.time.now > 5:
            stamps[tmp_path / "code.py"] = 2.0

    service.each_turn = change
    service.run(lambda: service.time.now > 100, reloader)
    assert reloader.has_changed
    assert 5 < service.time.now < 10
    assert caplog.text.count("has changed") == 1


def test_a_change_to_what_is_no_python_is_waited_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would start anew, and end at its first import."""
    code, other = tmp_path / "code.py", tmp_path / "other.py"
    contents = {
        5: (code, "def broken(:"),
        10: (other, "pass"),
        15: (code, "def mended(): pass"),
    }
    stamps = {code: 1.0, other: 1.0}
    monkeypatch.setattr(upkeep, "_stamps", lambda: iter(stamps.items()))
    reloader, service = Reloader(), Service()

    def change() -> None:
        for moment in [moment for moment in contents if moment < service.time.now]:
            path, text = contents.pop(moment)
            path.write_text(text)
            stamps[path] += 1

    service.each_turn = change
    service.run(lambda: service.time.now > 100, reloader)
    assert reloader.has_changed
    assert 15 < service.time.now < 20
    assert caplog.text.count("is no Python now") == 2


WRONG = {
    "NOTIFY": ("yes", "must be True or False"),
    "POLL_MIN": (2.0, "POLL_MIN"),
    "POLL_MAX": (0, "POLL_MAX"),
    "STOP_GRACE": (-1, "STOP_GRACE"),
    "RETENTION": (0, "RETENTION"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_setting_of_the_service_is_refused_with_what_would_be_right(key: str) -> None:
    value, said = WRONG[key]
    with override_settings(ASYNC={key: value}), pytest.raises(ImproperlyConfigured, match=said):
        conf.current()


def test_the_settings_of_the_service_have_defaults() -> None:
    found = conf.current()
    assert (found.notify, found.poll_min, found.poll_max) == (True, 0.05, 1.0)
    assert (found.stop_grace, found.retention) == (None, None)
