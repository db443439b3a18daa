"""What SIGTERM and SIGINT do to a program with a pool and to its children; and the exit codes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from forkpool import Ended, ForkPool, WorkerDied, child
from forkpool.worker import Worker

PROGRAM = """
import os, signal, sys, time
from contextlib import nullcontext
from pathlib import Path
from forkpool import ForkPool, StopSignals

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
folder, phase, handles, signum = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

def wait_for_go(name):
    (folder / name).touch()
    while not (folder / "go").exists():
        time.sleep(0.002)

def initializer():
    if phase == "starting":
        wait_for_go(f"{os.getpid()}.child")
    (folder / f"{os.getpid()}.child").touch()

def before_fork():
    if phase == "forking":
        os.kill(os.getpid(), signum)

def task():
    wait_for_go("running")
    return "finished"

with StopSignals() if handles == "yes" else nullcontext() as stop:
    wakeup = stop and stop.fileno()
    with ForkPool(2, initializer=initializer, before_fork=before_fork, wakeup=wakeup) as pool:
        tasks = [task]
        while pool.busy or (tasks and not (stop and stop.count)):
            if tasks and pool.idle == 2:
                pool.submit(tasks.pop())
            for ended in pool.wait():
                print(ended.error or ended.value, flush=True)
            if stop and stop.count:
                stop.drain()
                (folder / "go").touch()
        (folder / "go").touch()
"""


class Program:
    """A program of its own process, with a pool that is in some phase of its life."""

    def __init__(self, folder: Path, phase: str, handles: bool, signum: int) -> None:
        self._folder = folder
        args = [str(folder), phase, "yes" if handles else "no", str(int(signum))]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def children(self) -> list[int]:
        return [int(path.stem) for path in self._folder.glob("*.child")]

    def is_in(self, phase: str) -> bool:
        if phase == "running":
            return (self._folder / "running").exists()
        return len(self.children()) == 2


@pytest.mark.parametrize("phase", ["forking", "starting", "running"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_program_without_handlers_ends_by_the_signal_and_no_child_is_left(
    waiting: Any, tmp_path: Path, signum: signal.Signals, phase: str
) -> None:
    program = Program(tmp_path, phase, False, signum)
    if phase != "forking":
        waiting.until(lambda: program.is_in(phase))
        program.process.send_signal(signum)
    # The children hold its standard output open, so that this is the end of them all.
    out, err = program.process.communicate(timeout=60)
    assert program.process.returncode == -signum
    assert out == ""
    assert ("KeyboardInterrupt" in err) is (signum == signal.SIGINT)


@pytest.mark.parametrize("phase", ["forking", "starting", "running"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_notes_signals_ends_in_its_own_way(
    waiting: Any, tmp_path: Path, signum: signal.Signals, phase: str
) -> None:
    """What runs is finished first, and what is starting gets to its end as well."""
    program = Program(tmp_path, phase, True, signum)
    if phase != "forking":
        waiting.until(lambda: program.is_in(phase))
        program.process.send_signal(signum)
    out, err = program.process.communicate(timeout=60)
    assert (program.process.returncode, err) == (0, "")
    assert out == ("finished\n" if phase == "running" else "")


@pytest.fixture
def exit_codes(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The exit codes of all children, in the order of their burials."""
    codes: list[int | None] = []
    bury = Worker.bury

    def bury_and_note(worker: Worker) -> tuple[list[Ended], int | None]:
        ended, code = bury(worker)
        codes.append(code)
        return ended, code

    monkeypatch.setattr(Worker, "bury", bury_and_note)
    return codes


def test_a_child_that_is_told_to_go_exits_with_0(
    waiting: Any, exit_codes: list[int | None]
) -> None:
    with ForkPool(2, max_tasks_per_child=1) as pool:
        waiting.run(pool, os.getpid)
    assert exit_codes in ([0, 0], [0, 0, 0])  # the next one may have been started


def leave(code: int) -> None:
    sys.exit(code)


def test_a_child_that_fails_to_start_exits_with_1(
    waiting: Any, exit_codes: list[int | None], tmp_path: Path
) -> None:
    def initializer() -> None:
        if not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            leave(7)  # its own code would say nothing: the parent is told the traceback

    with ForkPool(1, initializer=initializer) as pool:
        waiting.idle(pool)
    assert exit_codes == [1, 0]


def signal_before(monkeypatch: pytest.MonkeyPatch, signum: int, note: Path) -> None:
    """Send a signal to the first child, before it has reset what it inherited."""
    begin = child.begin

    def signal_and_begin(birth: child.Birth) -> None:
        if not note.exists():
            note.touch()
            os.kill(os.getpid(), signum)
        begin(birth)

    monkeypatch.setattr(child, "begin", signal_and_begin)


@pytest.mark.parametrize(
    ("signum", "codes"), [(signal.SIGTERM, [-signal.SIGTERM, 0]), (signal.SIGINT, [0])]
)
def test_a_signal_in_the_childs_first_moments_is_no_affair_of_the_parents_handlers(
    waiting: Any,
    monkeypatch: pytest.MonkeyPatch,
    exit_codes: list[int | None],
    tmp_path: Path,
    signum: int,
    codes: list[int],
) -> None:
    def write(*_: Any) -> None:
        (tmp_path / "handled").touch()

    before = signal.signal(signum, write)
    signal_before(monkeypatch, signum, tmp_path / "sent")
    try:
        with ForkPool(1) as pool:
            waiting.idle(pool)
            assert (tmp_path / "sent").exists()
    finally:
        signal.signal(signum, before)
    assert exit_codes == codes
    assert not (tmp_path / "handled").exists()


def terminate_oneself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def test_a_child_that_is_terminated_ends_at_once(waiting: Any) -> None:
    with ForkPool(1) as pool:
        error = waiting.run(pool, terminate_oneself).error
        assert isinstance(error, WorkerDied)
        assert error.exitcode == -signal.SIGTERM
