"""A child is no copy of its parent: what it drops, and what it is tied to."""

import gc
import os
import random
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from forkpool import ForkPool, StopSignals, WorkerDied


def everywhere(pool: ForkPool, waiting: Any, count: int, function: Any, *args: Any) -> list[Any]:
    """Run a task once in each worker, and return the values."""
    waiting.idle(pool, count)
    with TemporaryDirectory() as folder:
        for _ in range(count):
            pool.submit(together, folder, count, function, *args)
        return [ended.value for ended in waiting.ends(pool, count)]


def together(folder: str, count: int, function: Any, *args: Any) -> Any:
    """Run the task once so many workers are here: else one of them may take two."""
    Path(folder, str(os.getpid())).touch()
    while len(os.listdir(folder)) < count:
        time.sleep(0.001)
    return function(*args)


def signal_state() -> dict[str, Any]:
    return {
        "handlers": [s for s in signal.valid_signals() if callable(signal.getsignal(s))],
        "int": signal.getsignal(signal.SIGINT),
        "hup": signal.getsignal(signal.SIGHUP),
        "term": signal.getsignal(signal.SIGTERM),
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "wakeup": signal.set_wakeup_fd(-1),
    }


@pytest.fixture
def handlers() -> Any:
    """A parent with handlers for several signals, a wake-up descriptor and a blocked signal."""
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD]
    before = {signum: signal.signal(signum, lambda *_: None) for signum in signals}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.set_wakeup_fd(wakeup)
    for signum, handler in before.items():
        signal.signal(signum, handler)
    os.close(reader)
    os.close(writer)


@pytest.mark.usefixtures("handlers")
def test_the_parents_signal_handling_is_not_the_childs(waiting: Any) -> None:
    parent = signal.getsignal(signal.SIGUSR1)
    with ForkPool(1) as pool:
        assert waiting.run(pool, signal_state).value == {
            "handlers": [signal.SIGURG],  # an interrupt's
            "int": signal.SIG_IGN,
            "hup": signal.SIG_IGN,
            "term": signal.SIG_DFL,
            "mask": set(),
            "wakeup": -1,
        }
    assert signal.getsignal(signal.SIGUSR1) is parent
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGUSR2}


def test_a_child_leads_its_own_process_group(waiting: Any) -> None:
    with ForkPool(2) as pool:
        groups = everywhere(pool, waiting, 2, os.getpgrp)
        assert sorted(groups) == sorted(pool.pids)


@pytest.mark.parametrize("ignored", [signal.SIGTERM, signal.SIGCHLD])
def test_what_the_parent_ignores_a_child_does_not(waiting: Any, ignored: signal.Signals) -> None:
    before = signal.signal(ignored, signal.SIG_IGN)
    try:
        with ForkPool(1) as pool:
            assert waiting.run(pool, signal.getsignal, ignored).value == signal.SIG_DFL
    finally:
        signal.signal(ignored, before)


def signal_oneself(signum: signal.Signals) -> str:
    os.kill(os.getpid(), signum)
    return "unmoved"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_a_child_ignores_what_a_terminal_sends(waiting: Any, signum: signal.Signals) -> None:
    with ForkPool(1) as pool:
        assert waiting.run(pool, signal_oneself, signum).value == "unmoved"


def descriptors() -> list[str]:
    """What the open descriptors stand for, without standard input, which a Process replaces."""
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(link) for link in links if link.is_symlink() and link.name != "0")


def test_a_child_keeps_no_descriptor_of_its_siblings(waiting: Any) -> None:
    """Its own are the channel, the tray, and the pipes by which multiprocess ties the two."""
    before = set(descriptors())
    with ForkPool(4, max_tasks_per_child=2) as pool:
        for _ in range(2):
            for kept in everywhere(pool, waiting, 4, descriptors):
                kinds = [link.split(":")[0] for link in kept if link not in before]
                assert sorted(kinds) == ["pipe", "pipe", "pipe", "socket"]
            waiting.idle(pool, 4)


def test_a_child_keeps_nothing_of_another_pool_and_of_its_signals(waiting: Any) -> None:
    before = set(descriptors())
    with (
        StopSignals() as signals,
        ForkPool(2, wakeup=signals.fileno()) as other,
        ForkPool(1) as unused,
        ForkPool(1) as pool,
    ):
        unused.kill()
        waiting.idle(other, 2)
        kept = waiting.run(pool, descriptors).value
        kinds = [link.split(":")[0] for link in kept if link not in before]
        assert sorted(kinds) == ["pipe", "pipe", "pipe", "socket"]
        assert waiting.run(other, os.getpid).value in other.pids
        os.kill(os.getpid(), signal.SIGTERM)
        assert other.wait(None) == []


def test_the_applications_own_descriptors_are_left_alone(waiting: Any) -> None:
    reader, writer = os.pipe()
    try:
        with ForkPool(1) as pool:
            assert waiting.run(pool, os.write, writer, b"still open").value == 10
        assert os.read(reader, 10) == b"still open"
    finally:
        os.close(reader)
        os.close(writer)


def times_seeded() -> int:
    return len(sys.modules["numpy.random"].seeded)


def draw() -> float:
    return random.random()


def test_children_draw_different_random_numbers(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded: list[int] = []
    numpy_random = types.SimpleNamespace(seeded=seeded, seed=lambda: seeded.append(1))
    monkeypatch.setitem(sys.modules, "numpy.random", numpy_random)
    with ForkPool(3) as pool:
        numbers = everywhere(pool, waiting, 3, draw)
        assert len(set(numbers)) == 3
        assert everywhere(pool, waiting, 3, times_seeded) == [1, 1, 1]
    assert seeded == []


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_leaves_the_parents_objects_alone(waiting: Any, enabled: bool) -> None:
    frozen = gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        with ForkPool(1) as pool:
            waiting.idle(pool)
            assert gc.isenabled() is enabled
            assert gc.get_freeze_count() == frozen
            assert waiting.run(pool, gc.isenabled).value is enabled
            assert waiting.run(pool, gc.get_freeze_count).value > frozen + 1000
    finally:
        gc.enable()


def start_a_process() -> int | None:
    import multiprocess

    process = multiprocess.get_context("fork").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    code: int | None = process.exitcode
    return code


def test_tasks_may_start_processes(waiting: Any) -> None:
    with ForkPool(1) as pool:
        assert waiting.run(pool, start_a_process).value == 0


def fork_and_return() -> int:
    """The copy of the process returns from the task as well."""
    pid = os.fork()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else -1


def test_a_copy_that_returns_from_a_task_reports_nothing(waiting: Any) -> None:
    with ForkPool(1) as pool:
        assert waiting.run(pool, fork_and_return).value == 1
        assert waiting.run(pool, os.getpid).value == pool.pids[0]


def print_something() -> None:
    print("printed by a task", end="")  # noqa: T201


def test_what_a_task_prints_is_not_lost(waiting: Any, capfd: Any) -> None:
    with ForkPool(1) as pool:
        waiting.run(pool, print_something)
    assert capfd.readouterr().out == "printed by a task"


def test_a_parent_that_died_too_early_is_noticed(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with ForkPool(1) as pool:
        (pid,) = pool.pids
        waiting.gone(pid)


PARENT = """
import atexit, sys, time
from forkpool import ForkPool

sys.platform = sys.argv[1]
atexit.register(print, "the parent's exit handler", flush=True)
pool = ForkPool(3)
pool.start()
while pool.idle < 3:
    pool.wait(60)
if sys.argv[2] == "busy":
    for _ in range(3):
        pool.submit(time.sleep, 100_000)
print("ready", flush=True)
if sys.argv[2] != "exit":
    time.sleep(100_000)
"""


def start_parent(*args: str) -> "subprocess.Popen[bytes]":
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *args],
        stdout=subprocess.PIPE,
        bufsize=0,  # communicate() does not know what a buffer has read ahead
    )
    assert parent.stdout
    assert parent.stdout.readline() == b"ready\n"
    return parent


@pytest.mark.parametrize(
    ("platform", "state"), [("linux", "idle"), ("linux", "busy"), ("darwin", "idle")]
)
def test_no_child_survives_its_parent(platform: str, state: str) -> None:
    with start_parent(platform, state) as parent:
        parent.kill()
        # The children hold its standard output open, so that this is the end of them all.
        assert parent.communicate(timeout=60)[0] == b""


def test_a_forgotten_pool_does_not_keep_its_program_from_ending() -> None:
    with start_parent("linux", "exit") as parent:
        assert parent.communicate(timeout=60)[0] == b"the parent's exit handler\n"  # once
        assert parent.returncode == 0


def test_a_copy_of_the_parent_ends_without_the_pool(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pid = os.fork()
        if pid == 0:
            pool._kill_at_exit()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        ended = waiting.run(pool, os.getpid)
        assert not isinstance(ended.error, WorkerDied)
        assert ended.value == pool.pids[0]
