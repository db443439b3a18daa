"""Workers that die fail what they held, and nothing else."""

import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from forkpool import Ended, ForkPool, TaskRaised, WorkerDied
from forkpool.channel import Channel

FOREVER = 100_000.0  # seconds
MEGABYTES_100 = 100_000_000


def die(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(FOREVER)


def leave(code: int) -> None:
    os._exit(code)


def leave_thread() -> None:
    threading.Thread(target=time.sleep, args=[FOREVER]).start()


def send_back(value: Any) -> Any:
    return value


def big(size: int) -> bytes:
    return bytes(size)


def died(ended: Ended) -> WorkerDied:
    assert isinstance(ended.error, WorkerDied)
    return ended.error


@pytest.mark.parametrize(
    ("end", "argument", "words"),
    [
        (die, signal.SIGKILL, "was killed by SIGKILL"),
        (die, signal.SIGTERM, "was killed by SIGTERM"),
        (leave, 3, "exited with code 3 while it held a task"),
        (leave, 0, "exited with code 0 while it held a task"),
    ],
)
def test_a_death_fails_the_task_and_names_its_cause(
    waiting: Any, end: Callable[[int], None], argument: int, words: str
) -> None:
    with ForkPool(1) as pool:
        ended = waiting.run(pool, end, argument)
        assert str(ended.error) == f"worker {ended.pid} {words}"
        assert died(ended).exitcode == (-argument if end is die else argument)
        assert waiting.run(pool, os.getpid).value != ended.pid


def test_a_death_fails_no_other_task(waiting: Any, gate: Any) -> None:
    with ForkPool(3) as pool:
        waiting.idle(pool, 3)
        others = {pool.submit(gate.pass_through).number for _ in range(2)}
        dead = pool.submit(die, signal.SIGKILL)
        (ended,) = waiting.ends(pool, 1)
        assert ended.task == dead
        assert died(ended).pid not in pool.pids
        waiting.idle(pool, 1)
        gate.open(2)
        assert {end.task.number for end in waiting.ends(pool, 2)} == others
        waiting.idle(pool, 3)


def test_idle_workers_that_die_are_replaced(waiting: Any) -> None:
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        before = pool.pids
        for pid in before:
            os.kill(pid, signal.SIGKILL)
            waiting.gone(pid)
        pool.submit(send_back, 1)  # as far as the pool knows
        (ended,) = waiting.ends(pool, 1)
        assert (ended.task.number, ended.value) == (1, 1)
        waiting.idle(pool, 2)
        assert not set(before) & set(pool.pids)


def test_a_worker_that_dies_idle_leaves_the_others_to_be_used(waiting: Any) -> None:
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        victim = pool.pids[0]
        os.kill(victim, signal.SIGKILL)
        waiting.gone(victim)
        pool.submit(send_back, 1)
        (ended,) = waiting.ends(pool, 1)
        assert ended.value == 1


def test_a_result_that_was_written_counts_though_the_worker_died(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(os.getpid)
        waiting.readable(pool._crew.workers[0].channel)
        os.kill(pool.pids[0], signal.SIGKILL)
        waiting.gone(pool.pids[0])
        (ended,) = waiting.ends(pool, 1)
        assert ended.value == ended.pid


def test_a_death_amid_a_large_result_blocks_nobody(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(big, MEGABYTES_100)
        # Far less than all of it fits into the socket.
        waiting.readable(pool._crew.workers[0].channel)
        assert pool.wait(0) == []
        os.kill(pool.pids[0], signal.SIGKILL)
        (ended,) = waiting.ends(pool, 1)
        assert died(ended).exitcode == -signal.SIGKILL
        assert waiting.run(pool, send_back, 1).value == 1


def test_who_dies_before_it_has_taken_a_task_leaves_it_to_its_replacement(waiting: Any) -> None:
    with ForkPool(1) as pool:
        waiting.idle(pool)
        (pid,) = pool.pids
        waiting.stopped(pid)
        pool.submit(big, 1)
        assert pool.wait(0) == []
        os.kill(pool.pids[0], signal.SIGKILL)
        (ended,) = waiting.ends(pool, 1)
        assert ended.error is None


def test_a_death_amid_a_large_argument_blocks_nobody(
    waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = Channel.receive

    def read_some_and_die(channel: Channel) -> bytes:
        if channel._socket.recv(9, socket.MSG_PEEK)[8:]:  # a message that is not empty
            channel._socket.recv(100_000)
            die(signal.SIGKILL)
        return receive(channel)

    monkeypatch.setattr(Channel, "receive", read_some_and_die)
    with ForkPool(1) as pool:
        waiting.idle(pool)
        pool.submit(send_back, bytes(MEGABYTES_100))
        (ended,) = waiting.ends(pool, 1)
        assert died(ended).exitcode == -signal.SIGKILL


def misbehave(number: int) -> int:
    """End in one of several ways, the first of them as it should."""
    match number % 7:
        case 1:
            raise ValueError(number)
        case 3:
            die(signal.SIGKILL)
        case 5:
            leave(number % 3)
        case 6:
            big(1_000_000)
    return number


def test_each_task_ends_once_whatever_happens_to_the_others(waiting: Any) -> None:
    numbers = range(210)
    ends: list[Ended] = []
    with ForkPool(4, max_tasks_per_child=5) as pool:
        for number in numbers:
            while not pool.idle:
                ends += pool.wait(60)
            assert pool.submit(misbehave, number).number == number + 1
        ends += waiting.ends(pool, len(numbers) - len(ends))
        assert pool.busy == 0
    kinds: dict[int, Any] = {1: TaskRaised, 3: WorkerDied, 5: WorkerDied}
    assert sorted(end.task.number for end in ends) == [number + 1 for number in numbers]
    for end in ends:
        (number,) = end.task.args
        assert type(end.error) is kinds.get(number % 7, type(None))
        assert end.value == (None if end.error else number)


def leave_process_behind(note: str, session: bool) -> None:
    """Die while a copy of this process lives on, with all descriptors open."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        if session:
            os.setsid()
        os.write(writer, b"ready")
        time.sleep(FOREVER)
    os.read(reader, 5)
    Path(note).write_text(str(pid))
    die(signal.SIGKILL)


def test_a_death_is_seen_though_a_grandchild_lives_on(waiting: Any, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with ForkPool(1) as pool:
        ended = waiting.run(pool, leave_process_behind, str(note), True)
        left = int(note.read_text())
        os.kill(left, signal.SIGKILL)  # it was alive, or this would raise
        assert died(ended).exitcode == -signal.SIGKILL
        waiting.gone(left)


def test_a_death_takes_the_process_group_with_it(waiting: Any, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with ForkPool(1) as pool:
        died(waiting.run(pool, leave_process_behind, str(note), False))
        waiting.gone(int(note.read_text()))


def close_sockets() -> None:
    for descriptor in range(3, 256):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.close(descriptor)


def test_a_worker_that_lost_its_channel_is_replaced(waiting: Any, capfd: Any) -> None:
    with ForkPool(1) as pool:
        ended = waiting.run(pool, close_sockets)
        assert died(ended).exitcode == 1
        assert waiting.run(pool, send_back, 1).value == 1
    assert "Bad file descriptor" in capfd.readouterr().err


def test_the_death_is_known_where_others_reap_the_children(waiting: Any) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with ForkPool(1) as pool:
            ended = waiting.run(pool, die, signal.SIGKILL)
            assert died(ended).exitcode is None
            assert "nobody knows how" in str(ended.error)
            assert waiting.run(pool, send_back, 1).value == 1
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("platform", ["refuses", "lacks"])
def test_without_pidfds_the_sentinel_tells_of_a_death(
    waiting: Any, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    def refuse(pid: int) -> int:
        raise OSError("not in this sandbox")

    if platform == "lacks":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    else:
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        assert died(waiting.run(pool, die, signal.SIGKILL)).exitcode == -signal.SIGKILL
        waiting.idle(pool, 2)


def leave_process_and_thread() -> None:
    if not os.fork():
        time.sleep(FOREVER)
    leave_thread()


def close_all_and_go_on() -> None:
    """While the task goes on."""
    os.closerange(3, 65536)
    time.sleep(FOREVER)


def test_a_worker_without_a_channel_dies_though_a_thread_would_keep_it(waiting: Any) -> None:
    """Python waits for threads on its way out; and the channel does not end where a process that
    was left behind holds it open."""
    with ForkPool(1) as pool:
        waiting.run(pool, leave_process_and_thread)
        assert died(waiting.run(pool, os.closerange, 3, 65536)).exitcode == 1
        assert waiting.run(pool, abs, -1).value == 1


def test_a_worker_that_works_on_without_a_channel_is_killed(waiting: Any) -> None:
    """Nobody could tell it anything, nor hear from it."""
    with ForkPool(1) as pool:
        assert died(waiting.run(pool, close_all_and_go_on)).exitcode == -signal.SIGKILL
        assert waiting.run(pool, abs, -1).value == 1
