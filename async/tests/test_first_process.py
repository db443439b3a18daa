"""``flush_queue --forever`` as PID 1, as in a container: in a namespace of process ids."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from django_async import schedule
from django_async.models import Job
from suite import abuse, jobs
from suite.processes import first_process
from suite.together import DEADLINE, wait_until


def can_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    if not shutil.which("unshare"):
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not can_unshare(), reason="to be PID 1 takes the rights to make a namespace"
    ),
]


def test_it_buries_what_jobs_have_left_behind(tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = schedule(abuse.leave_stray, [str(go)])
    with first_process("flush_queue", "--forever", "--workers=1") as service:
        wait_until(lambda: Job.objects.executed().filter(pk=job.pk), "the job")
        pid = _only_child(service.pid)
        wait_until(lambda: len(_children(pid)) == 2, "the worker and the stray")
        go.touch()
        wait_until(lambda: len(_children(pid)) == 1, "the burial")
        schedule(jobs.note)
        wait_until(lambda: Job.objects.executed().count() == 2, "another job")


def test_it_heeds_a_hangup_and_ends_at_a_sigterm() -> None:
    with first_process("flush_queue", "--forever", "--workers=1") as service:
        schedule(jobs.note)
        wait_until(lambda: Job.objects.executed().count() == 1, "a job")
        pid = _only_child(service.pid)
        (worker,) = _children(pid)
        _send(pid, signal.SIGHUP)
        wait_until(lambda: _children(pid) not in ([], [worker]), "the start anew")
        schedule(jobs.note)
        wait_until(lambda: Job.objects.executed().count() == 2, "another job")
        _send(pid, signal.SIGTERM)
        _, errors = service.communicate(timeout=DEADLINE)
    assert (service.returncode, errors) == (0, "")


def _send(pid: int, signum: int) -> None:
    os.kill(pid, signum)


def _only_child(pid: int) -> int:
    (child,) = _children(pid)
    return child


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
