"""A file whose age tells whether a service's loop goes round."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_async.lifesign import LivenessFile
from suite.processes import manage
from suite.together import DEADLINE, wait_until


def engine(*, is_ready: bool) -> Any:
    return SimpleNamespace(is_ready=is_ready)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alive"


def test_it_is_there_from_when_the_service_is_ready_until_it_ends(path: Path) -> None:
    path.touch()  # of one that was killed
    file = LivenessFile(path)
    assert not path.exists()
    file.see_to(engine(is_ready=False))
    assert not path.exists()
    file.see_to(engine(is_ready=True))
    assert path.exists()
    file.close()
    assert not path.exists()


def test_it_is_as_young_as_the_latest_turn_also_while_the_database_is_away(path: Path) -> None:
    file = LivenessFile(path)
    file.see_to(engine(is_ready=True))
    os.utime(path, (0, 0))
    file.see_to(engine(is_ready=False))
    assert path.stat().st_mtime > 0


def test_that_it_cannot_be_written_any_more_is_told_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = LivenessFile(folder / "alive")
    folder.rmdir()
    for _ in range(3):
        file.see_to(engine(is_ready=True))
    assert len(caplog.records) == 1
    file.close()


@pytest.mark.django_db(transaction=True)
def test_a_path_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "alive"
    with pytest.raises(CommandError, match=r"--liveness-file: .*nowhere"):
        call_command("flush_queue", "--forever", f"--liveness-file={path}")


@pytest.mark.django_db(transaction=True)
def test_a_service_touches_it_and_takes_it_away(path: Path) -> None:
    with manage("flush_queue", "--forever", "--workers=1", f"--liveness-file={path}") as service:
        wait_until(path.exists, "the file of a service that is ready")
        service.send_signal(signal.SIGTERM)
        assert service.wait(DEADLINE) == 0
    assert not path.exists()
