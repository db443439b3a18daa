"""The two ways to end a pool."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from forkpool import (
    Ended,
    ForkPool,
    WorkerDied,
)

FOREVER = 100_000.0  # seconds


def send_back(value: Any) -> Any:
    return value


def died(ended: Ended) -> WorkerDied:
    assert isinstance(ended.error, WorkerDied)
    return ended.error


def test_shutdown_lets_running_tasks_finish(waiting: Any, gate: Any) -> None:
    pool = ForkPool(2)
    pool.start()
    waiting.idle(pool, 2)
    pids = pool.pids
    task = pool.submit(gate.pass_through)
    gate.open()
    (ended,) = pool.shutdown()
    assert (ended.task, ended.value) == (task, ended.pid)
    assert pool.pids == []
    for pid in pids:
        waiting.gone(pid)


def test_shutdown_kills_what_runs_longer_than_its_timeout(waiting: Any) -> None:
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        task = pool.submit(time.sleep, FOREVER)
        (ended,) = pool.shutdown(timeout=0.05)
        assert ended.task == task
        assert died(ended).exitcode == -signal.SIGKILL


def test_shutdown_ends_workers_that_are_not_ready_yet() -> None:
    pool = ForkPool(2)
    pool.start()
    assert pool.shutdown() == []


def test_shutdown_heeds_no_wakeup(waiting: Any) -> None:
    reader, writer = os.pipe()
    try:
        with ForkPool(1, wakeup=reader) as pool:
            waiting.idle(pool)
            task = pool.submit(send_back, 5)
            os.write(writer, b".")
            (ended,) = pool.shutdown()
            assert (ended.task, ended.value) == (task, 5)
    finally:
        os.close(reader)
        os.close(writer)


def test_kill_returns_results_that_had_arrived_and_deaths(waiting: Any, gate: Any) -> None:
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        stuck = pool.submit(gate.pass_through)
        done = pool.submit(send_back, 9)
        waiting.until(lambda: not pool.waiting)
        waiting.readable(next(w.channel for w in pool._crew.workers if w.task == done))
        ends = {ended.task: ended for ended in pool.kill()}
        assert ends[done].value == 9
        assert str(ends[stuck].error) == f"worker {ends[stuck].pid} was killed by SIGKILL"
        assert len(ends) == 2


def start_process(note: str) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(FOREVER)
    Path(note).write_text(f"{pid}.")
    os.waitpid(pid, 0)


def test_kill_ends_what_the_tasks_have_started(waiting: Any, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(start_process, str(note))
        waiting.until(lambda: note.exists() and note.read_text().endswith("."))
        pool.kill()
        waiting.gone(int(note.read_text()[:-1]))


def test_an_exception_in_the_context_kills(waiting: Any) -> None:
    pool = ForkPool(1)
    pool.start()
    waiting.idle(pool)
    (pid,) = pool.pids
    pool.submit(time.sleep, FOREVER)
    with pytest.raises(LookupError), pool:
        raise LookupError
    assert pool.pids == []
    waiting.gone(pid)


def test_an_interrupted_shutdown_kills(waiting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ForkPool(1)
    pool.start()
    waiting.idle(pool)
    pool.submit(time.sleep, FOREVER)

    def interrupt(timeout: float | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "_attend", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.shutdown()
    assert pool.pids == []
