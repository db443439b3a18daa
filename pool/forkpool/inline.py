"""The pool that needs no other process."""

import os
import selectors
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from forkpool.board import put_up
from forkpool.channel import loads_or_error
from forkpool.child import format_error
from forkpool.errors import NotRunning, PoolBusy, TaskRaised, describe
from forkpool.interface import Ended, Pool, Running, Task
from forkpool.limits import soft_time_limit
from forkpool.memory import explain_memory_error


class InlinePool(Pool):
    """Runs each task in this process, within submit(); the next wait() tells how it ended.

    A soft time limit is kept, in the main thread; a `time_limit` is not, since the process that
    would have to be ended is this one.

    Args:
        wakeup: a descriptor that wait() watches while it has nothing to return. Without this one
            and others nothing could end ``wait(None)``, which then returns at once.
    """

    def __init__(self, *, wakeup: int | None = None) -> None:
        self._wakeup = wakeup
        self._running = False
        self._handed_out = 0
        self._ended: list[Ended] = []
        self._at_hand: tuple[Task, float] | None = None  # and since when
        self._shown: bytes | None = None

    @property
    def idle(self) -> int:
        return int(self._running and not self._ended)

    @property
    def room(self) -> int:
        return self.idle

    @property
    def waiting(self) -> list[Task]:
        return []

    @property
    def ahead(self) -> int:
        return 0

    @property
    def busy(self) -> int:
        return len(self._ended)

    @property
    def pids(self) -> list[int]:
        return [os.getpid()] if self._running else []

    def start(self) -> None:
        self._running = True

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        begin_limit: float | None = None,
    ) -> Task:
        self._check_running()
        if self._ended:
            raise PoolBusy
        task = Task(self._handed_out + 1, function, args, time_limit, soft_time_limit, begin_limit)
        self._handed_out = task.number
        with self._showing(task):
            self._ended.append(_run(task))
        return task

    def take_back(self) -> list[Task]:
        self._check_running()
        return []

    def wait(
        self, timeout: float | None = None, wakeups: Iterable[int] = (), rest: float = 0.0
    ) -> list[Ended]:
        self._check_running()
        if not self._ended:
            self._sleep(timeout, set(wakeups))
        return self._take_ended()

    def running(self) -> list[Running]:
        if self._at_hand is None:
            return []
        task, since = self._at_hand
        return [Running(task, os.getpid(), since, self._shown and loads_or_error(self._shown))]

    def interrupt(self, number: int) -> bool:
        return False

    def shutdown(self, timeout: float | None = None) -> list[Ended]:
        self._running = False
        return self._take_ended()

    def kill(self) -> list[Ended]:
        return self.shutdown()

    @contextmanager
    def _showing(self, task: Task) -> Iterator[None]:
        self._at_hand = task, time.monotonic()
        self._shown = None
        before = put_up(self._keep)
        try:
            yield
        finally:
            put_up(*before)
            self._at_hand = None

    def _keep(self, data: bytes) -> None:
        self._shown = data

    def _check_running(self) -> None:
        if not self._running:
            raise NotRunning

    def _take_ended(self) -> list[Ended]:
        ended, self._ended = self._ended, []
        return ended

    def _sleep(self, timeout: float | None, wakeups: set[int]) -> None:
        if self._wakeup is not None:
            wakeups.add(self._wakeup)
        if wakeups:
            with selectors.DefaultSelector() as selector:
                for descriptor in wakeups:
                    selector.register(descriptor, selectors.EVENT_READ)
                selector.select(timeout)
        elif timeout is not None:  # else nothing could ever end the sleep
            time.sleep(timeout)


def _run(task: Task) -> Ended:
    try:
        with soft_time_limit(task.soft_time_limit):
            value = task.function(*task.args)
    except BaseException as error:  # noqa: BLE001 - whatever a task raises is its own failure
        explain_memory_error(error)
        raised = TaskRaised(describe(error), format_error(error), error)
        return Ended(task, os.getpid(), error=raised)
    return Ended(task, os.getpid(), value)
