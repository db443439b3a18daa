"""A death at any step of the protocol: nobody waits for ever, and no result is lost or doubled.

The injection is done here: a child inherits what a test has put in the place of its functions.
"""

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from forkpool import Ended, ForkPool, NotPicklable, PoolBusy, WorkerDied, child
from forkpool.board import Slot
from forkpool.channel import Channel, loads
from forkpool.tray import Tray

FOREVER = 100_000.0  # seconds
Patch = pytest.MonkeyPatch


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(FOREVER)


def square(number: int) -> int:
    return number**2


def is_report(message: bytes) -> bool:
    return bool(loads(message)[0] == "returned")


class Once:
    """Lets one child die, the first one that comes by."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "dead"

    def is_mine(self) -> bool:
        """Whether nobody was here before."""
        try:
            self._folder.mkdir()
        except FileExistsError:
            return False
        return True

    def die(self) -> None:
        if self.is_mine():
            die()


def before_reading(patch: Patch, once: Once) -> None:
    take = Tray.take

    def wait_and_die(tray: Tray, slot: Slot) -> tuple[int, bytes | None] | None:
        select.select([tray._reader], [], [])  # a task is there
        once.die()
        return take(tray, slot)

    patch.setattr(Tray, "take", wait_and_die)


def after_reading(patch: Patch, once: Once) -> None:
    run = child.run

    def die_and_run(number: int, message: bytes, slot: Slot) -> bytes:
        once.die()
        return run(number, message, slot)

    patch.setattr(child, "run", die_and_run)


def after_running(patch: Patch, once: Once) -> None:
    run = child.run

    def run_and_die(number: int, message: bytes, slot: Slot) -> bytes:
        report = run(number, message, slot)
        once.die()
        return report

    patch.setattr(child, "run", run_and_die)


def half_way_through_the_length(patch: Patch, once: Once) -> None:
    _die_after_sending(patch, once, 5)


def half_way_through_the_result(patch: Patch, once: Once) -> None:
    _die_after_sending(patch, once, 20)


def _die_after_sending(patch: Patch, once: Once, size: int) -> None:
    send = Channel.send

    def send_some(channel: Channel, message: bytes) -> None:
        is_the_childs = channel._socket.gettimeout() is None
        if is_the_childs and is_report(message) and once.is_mine():
            channel._socket.send((len(message).to_bytes(8) + message)[:size])
            die()
        send(channel, message)

    patch.setattr(Channel, "send", send_some)


def after_the_result(patch: Patch, once: Once) -> None:
    send = Channel.send

    def send_and_die(channel: Channel, message: bytes) -> None:
        send(channel, message)
        if channel._socket.gettimeout() is None and is_report(message):
            once.die()

    patch.setattr(Channel, "send", send_and_die)


Inject = Callable[[Patch, Once], None]


def submit_when_idle(pool: ForkPool, function: Callable[..., Any], *args: Any) -> list[Ended]:
    """Hand out a task, and return what has ended meanwhile."""
    ends: list[Ended] = []
    while True:
        while not pool.idle:
            ends += pool.wait(60)
        with suppress(PoolBusy):  # who was idle is dead
            pool.submit(function, *args)
            return ends


@pytest.mark.parametrize(
    ("inject", "deaths"),
    [
        (before_reading, {0}),
        (after_reading, {1}),
        (after_running, {1}),
        (half_way_through_the_length, {1}),
        (half_way_through_the_result, {1}),
        (after_the_result, {0, 1}),  # the next task may be in its hands already
    ],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_each_task_ends_once(
    waiting: Any,
    tmp_path: Path,
    monkeypatch: Patch,
    inject: Inject,
    deaths: set[int],
    workers: int,
) -> None:
    inject(monkeypatch, Once(tmp_path))
    ends: list[Ended] = []
    with ForkPool(workers) as pool:
        for number in range(12):
            ends += submit_when_idle(pool, square, number)
        ends += waiting.ends(pool, 12 - len(ends))
        assert pool.busy == 0
        waiting.idle(pool, workers)
    assert (tmp_path / "dead").exists()
    assert sorted(end.task.number for end in ends) == list(range(1, 13))
    assert sum(isinstance(end.error, WorkerDied) for end in ends) in deaths
    for end in ends:
        assert end.error or end.value == square(*end.task.args)


def test_a_death_on_the_way_out_is_no_failure(
    waiting: Any, tmp_path: Path, monkeypatch: Patch
) -> None:
    """The child has been told to go, and dies before it has gone."""
    once = Once(tmp_path)
    work = child.work

    def work_and_die(channel: Channel, tray: Tray, slot: Slot, terms: child.Terms) -> None:
        work(channel, tray, slot, terms)
        once.die()

    monkeypatch.setattr(child, "work", work_and_die)
    with ForkPool(1, max_tasks_per_child=1) as pool:
        ends = [waiting.run(pool, square, number) for number in range(4)]
        waiting.until((tmp_path / "dead").exists)
    assert [end.value for end in ends] == [0, 1, 4, 9]


def test_a_death_on_the_way_in_is_a_failed_start(
    waiting: Any, tmp_path: Path, monkeypatch: Patch
) -> None:
    once = Once(tmp_path)
    begin = child.begin

    def die_and_begin(birth: child.Birth) -> None:
        once.die()
        begin(birth)

    monkeypatch.setattr(child, "begin", die_and_begin)
    with ForkPool(2) as pool:
        waiting.idle(pool, 2)
        assert waiting.run(pool, square, 3).value == 9
        assert (tmp_path / "dead").exists()


def die_if_thirteen(number: int) -> int:
    if number == 13:
        die()
    return square(number)


def test_one_death_among_thirty_tasks_fails_one(waiting: Any) -> None:
    """The standard library's ProcessPoolExecutor breaks all tasks that it has not finished."""
    ends: list[Ended] = []
    with ForkPool(4) as pool:
        for number in range(30):
            ends += submit_when_idle(pool, die_if_thirteen, number)
        ends += waiting.ends(pool, 30 - len(ends))
        assert waiting.run(pool, square, 2).value == 4  # and the pool takes more
    (failed,) = [end for end in ends if end.error]
    assert failed.task.args == (13,)
    assert isinstance(failed.error, WorkerDied)
    assert sorted(end.value for end in ends if not end.error) == [
        square(number) for number in range(30) if number != 13
    ]


class Rebuilt:
    """A result whose reconstruction raises, in the parent."""

    def __init__(self, pid: int, kind: type[BaseException]) -> None:
        if pid != os.getpid():
            raise kind("not here")
        self._made_of = pid, kind

    def __reduce__(self) -> Any:
        return Rebuilt, self._made_of


class RebuiltError(Rebuilt, Exception):
    def __reduce__(self) -> Any:
        return RebuiltError, self._made_of


def make(kind: type[BaseException]) -> Rebuilt:
    return Rebuilt(os.getpid(), kind)


def raise_it(kind: type[BaseException]) -> None:
    raise RebuiltError(os.getpid(), kind)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
def test_a_result_does_not_raise_in_the_parent(waiting: Any, kind: type[BaseException]) -> None:
    with ForkPool(1) as pool:
        error = waiting.run(pool, make, kind).error
        assert isinstance(error, NotPicklable)
        assert "not here" in str(error)
        error = waiting.run(pool, raise_it, kind).error
        assert error.original is None
        assert "RebuiltError" in error.exception
        assert [waiting.run(pool, os.getpid).value] == pool.pids


class Unpicklable:
    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind

    def __reduce__(self) -> Any:
        raise self._kind("no way")


def return_unpicklable(kind: type[BaseException]) -> Unpicklable:
    return Unpicklable(kind)


class UnpicklableError(Unpicklable, Exception):
    pass


def raise_unpicklable(kind: type[BaseException]) -> None:
    raise UnpicklableError(kind)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, RecursionError])
@pytest.mark.parametrize("function", [return_unpicklable, raise_unpicklable])
def test_what_cannot_be_sent_does_not_end_the_child(
    waiting: Any, function: Any, kind: type[BaseException]
) -> None:
    with ForkPool(1) as pool:
        error = waiting.run(pool, function, kind).error
        assert error.traceback
        assert [waiting.run(pool, os.getpid).value] == pool.pids


def recurse(depth: int) -> int:
    return recurse(depth + 1) + 1


def test_a_task_that_recurses_too_deep_fails_alone(waiting: Any) -> None:
    with ForkPool(1) as pool:
        error = waiting.run(pool, recurse, 0).error
        assert isinstance(error.original, RecursionError)
        assert [waiting.run(pool, os.getpid).value] == pool.pids


def test_the_callers_handlers_run_between_two_looks_and_lose_nothing(
    waiting: Any, monkeypatch: Patch
) -> None:
    """A handler that raises, amid the look that brings a result."""

    class Stop(BaseException):
        pass

    def stop(*_: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with ForkPool(1) as pool:
            waiting.idle(pool)
            pool.submit(square, 5)
            (worker,) = pool._crew.workers
            hear = worker.hear

            def hear_amid_a_signal(message: bytes) -> Ended | None:
                os.kill(os.getpid(), signal.SIGUSR1)
                return hear(message)

            monkeypatch.setattr(worker, "hear", hear_amid_a_signal)
            with pytest.raises(Stop):
                pool.wait(60)
            (ended,) = pool.wait(0)
            assert ended.value == 25
            assert (pool.idle, pool.busy) == (1, 0)
    finally:
        signal.signal(signal.SIGUSR1, before)
