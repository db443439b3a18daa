"""What tasks leave behind is reaped by PID 1 and by subreapers, and nothing else is."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forkpool import ForkPool, InlinePool, WorkerDied, reap_strays

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only PID 1 has strays")

_PR_SET_CHILD_SUBREAPER = 36
FOREVER = 100_000.0  # seconds


@pytest.fixture
def reaper() -> Iterator[None]:
    libc = ctypes.CDLL(None)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


def leave_behind(note: str) -> int:
    """A process whose own parent ends first, and that ends when the note is gone; its id."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        if (stray := os.fork()) == 0:
            os.setsid()
            while Path(note).exists():
                time.sleep(0.002)
            os._exit(3)
        os.write(writer, str(stray).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    stray = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    return stray


class Strays:
    def __init__(self, pool: ForkPool, waiting: Any, note: Path) -> None:
        self._pool = pool
        self._waiting = waiting
        self._note = note

    def make(self) -> int:
        """A dead one."""
        self._note.touch()
        stray: int = self._waiting.run(self._pool, leave_behind, str(self._note)).value
        self._note.unlink()
        self.wait_for(stray)
        return stray

    def wait_for(self, pid: int) -> None:
        """Wait for the end of a child, and leave it to be reaped."""
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        self._waiting.until(lambda: os.waitid(os.P_PID, pid, options) is not None)


@pytest.fixture
def pool() -> Iterator[ForkPool]:
    with ForkPool(1) as pool:
        yield pool


@pytest.fixture
def strays(pool: ForkPool, waiting: Any, tmp_path: Path) -> Strays:
    return Strays(pool, waiting, tmp_path / "note")


def is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True


@pytest.mark.usefixtures("reaper")
def test_strays_are_reaped(pool: ForkPool, strays: Strays) -> None:
    assert reap_strays(pool) == 0
    dead = [strays.make() for _ in range(3)]
    assert reap_strays(pool) == 3
    assert not any(is_child(pid) for pid in dead)
    assert reap_strays(pool) == 0


@pytest.mark.usefixtures("reaper")
def test_a_stray_that_lives_is_left_alone(pool: ForkPool, waiting: Any, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.touch()
    stray = waiting.run(pool, leave_behind, str(note)).value
    assert reap_strays(pool) == 0
    note.unlink()
    waiting.until(lambda: reap_strays(pool) == 1)
    assert not is_child(stray)


@pytest.mark.usefixtures("reaper")
def test_the_end_of_a_worker_is_the_pools(pool: ForkPool, waiting: Any, strays: Strays) -> None:
    """And does not hide what is dead behind it."""
    stray = strays.make()
    (pid,) = pool.pids
    pool.submit(time.sleep, FOREVER)
    os.kill(pid, signal.SIGKILL)
    strays.wait_for(pid)
    assert reap_strays(pool) == 1
    assert not is_child(stray)
    assert is_child(pid)
    (ended,) = waiting.ends(pool, 1)
    assert isinstance(ended.error, WorkerDied)
    assert ended.error.exitcode == -signal.SIGKILL


@pytest.mark.usefixtures("reaper")
def test_others_whom_somebody_will_ask_for_are_kept(pool: ForkPool, strays: Strays) -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"])
    strays.wait_for(process.pid)
    stray = strays.make()
    assert reap_strays(pool, keep=[process.pid]) == 1
    assert not is_child(stray)
    assert process.wait() == 5


@pytest.mark.usefixtures("reaper")
def test_without_children_there_is_nothing_to_reap() -> None:
    with InlinePool() as pool:
        assert reap_strays(pool) == 0


@pytest.mark.skipif(os.getpid() == 1, reason="this process is a reaper")
def test_who_is_no_reaper_leaves_all_children_alone(pool: ForkPool, strays: Strays) -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"])
    strays.wait_for(process.pid)
    assert reap_strays(pool) == 0
    assert process.wait() == 5


AS_PID_1 = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pool.tests.test_strays import leave_behind
from forkpool import ForkPool, reap_strays

assert os.getpid() == 1
note = sys.argv[2]
open(note, "w").close()
deadline = time.monotonic() + 60
with ForkPool(1) as pool:
    while not pool.idle:
        pool.wait(60)
    pool.submit(leave_behind, note)
    (ended,) = pool.wait(60)
    assert reap_strays(pool) == 0
    os.unlink(note)
    while not reap_strays(pool):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert pool.shutdown() == []
try:
    os.kill(ended.value, 0)
except ProcessLookupError:
    print("reaped")
"""

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]


def can_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="to be PID 1 takes the rights to make a namespace")
def test_pid_1_reaps_them_too(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    command = [*UNSHARE, sys.executable, "-c", AS_PID_1, root, str(tmp_path / "note")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "reaped\n"), done.stderr
