"""Workers say in the list of processes what they run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_async import schedule, titles, worker
from django_async.forking import close_connections
from django_async.hints import Hint
from forkpool import ForkPool
from suite import told
from suite.attempts import attempt
from suite.together import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="Linux shows it there"),
]


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")


@pytest.mark.parametrize("atomic", [True, False])
def test_a_worker_shows_its_job_and_none_of_its_arguments_and_then_that_it_is_idle(
    atomic: bool,
) -> None:
    pytest.importorskip("setproctitle")
    job = schedule(told.read_title, ["secret"], meta={"atomic": atomic})
    with ForkPool(1, initializer=worker.begin, before_fork=close_connections) as pool:
        while not pool.idle:
            pool.wait(1)
        [pid] = pool.pids
        wait_until(lambda: title(pid) == "django-async: idle", "a title")
        pool.submit(worker.attempt, Hint(job.pk, 0, 5, None, None, job.meta), "default", None)
        pool.wait(30)
        assert title(pid) == "django-async: idle"
    job.refresh_from_db()
    assert job.result == f'"django-async: job {job.pk} suite.told.read_title"'


@pytest.mark.parametrize("way", ["execute", "flush"])
def test_nobody_else_is_renamed(way: str, flush: Callable[..., Any]) -> None:
    before = title(os.getpid())
    job = attempt(schedule(told.read_title, ["secret"]), way, flush)
    assert "django-async: job" not in job.result
    assert title(os.getpid()) == before


def test_without_setproctitle_all_is_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(titles, "setproctitle", None)
    titles.begin()
    with titles.shown(1, "name"):
        assert titles._set is None
