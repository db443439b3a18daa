"""The parent's side: fork, hand out, collect, refill, stop. One thread, which the caller drives.

::

    caller                  ForkPool (parent)                     child, one per worker
    ──────                  ─────────────────                     ─────────────────────
    submit(function, *args) ──> pickled ─────── socket ─────────> receive
                                                                  run
    wait() <── Ended <──┬─────────────────────  socket <───────── report
                        │
                     selector <── pidfd ─────────────────────────  the process ends: what it has
                        │                                         written is read first, then a
                        │                                         task that it still held died
                        └────── wakeup <── the caller's signals

The selector is one epoll (or kqueue) for the life of the pool. A child's death is seen on its
pidfd, since the socket may be held open by a process that a task has left behind.
"""

import atexit
import os
import selectors
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from forkpool.channel import dumps
from forkpool.errors import ForkUnavailable, NotRunning, PoolBusy, StartFailed, describe_exit
from forkpool.interface import Ended, Pool, Task
from forkpool.worker import Worker, signals_blocked

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_STARTS = 3  # failures in a row, after which there is no point in forking again


class ForkPool(Pool):
    """Workers that are forked from this process, and replaced when they die.

    Start it in a thread that lives as long as the pool (best the main one, before any other
    thread exists): on Linux a child is killed when the thread that forked it ends.

    Args:
        workers: number of processes that take tasks. A process that was told to go may still be
            ending while its replacement runs already.
        initializer: called in each child before it takes tasks.
        before_fork: called in the parent before every fork, at the start and at each refill.
        max_tasks_per_child: after so many tasks a child is replaced by a fresh one; None is never.
        wakeup: a descriptor that wait() watches as well; it stays open as long as the pool.
    """

    def __init__(
        self,
        workers: int,
        *,
        initializer: Callable[[], object] | None = None,
        before_fork: Callable[[], object] | None = None,
        max_tasks_per_child: int | None = None,
        wakeup: int | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers}")
        if max_tasks_per_child is not None and max_tasks_per_child < 1:
            raise ValueError(f"a child runs at least one task, not {max_tasks_per_child}")
        self._initializer = initializer
        self._before_fork = before_fork
        self._max_tasks = max_tasks_per_child
        self._wakeup = wakeup
        self._owner: int | None = None  # process that started the pool
        self._closed = False
        self._selector = selectors.DefaultSelector()
        self._workers: list[Worker] = []  # all that are not reaped yet
        self._idle: list[Worker] = []
        self._dead: list[Worker] = []
        self._missing = workers
        self._failed_starts = 0  # since a worker was ready
        self._complaint = ""
        self._handed_out = 0
        self._ended: list[Ended] = []
        self._news = False  # something else that wait() returns for

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def busy(self) -> int:
        return sum(worker.task is not None for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    def start(self) -> None:
        if not hasattr(os, "fork"):
            raise ForkUnavailable
        if self._closed:
            raise NotRunning
        if self._owner:
            return
        self._owner = os.getpid()
        if self._wakeup is not None:
            self._selector.register(self._wakeup, _READ, self._note_wakeup)
        # Python waits for its children when it exits: a forgotten pool would keep it for ever.
        atexit.register(self._kill_at_exit)
        try:
            self._refill()
        except BaseException:
            self.kill()
            raise

    def submit(self, function: Callable[..., Any], *args: Any) -> Task:
        self._check_running()
        if not self._idle:
            raise PoolBusy
        message = dumps((function, args))
        while self._idle:
            worker = self._idle.pop()  # the last one to rest: its caches are warm
            task = Task(self._handed_out + 1, function, args)
            if worker.hand(task, message):
                self._handed_out = task.number
                if worker.channel.unsent:
                    self._selector.modify(
                        worker.channel, _READ | _WRITE, partial(self._converse, worker)
                    )
                return task
        raise PoolBusy  # those that seemed idle are dead, as wait() will find out

    def wait(self, timeout: float | None = None) -> list[Ended]:
        self._check_running()
        deadline = _deadline(timeout)
        self._news = False
        while not (self._ended or self._news):
            self._refill()
            self._attend(_left(deadline))
            if _left(deadline) == 0:
                break
        return self._take_ended()

    def shutdown(self, timeout: float | None = None) -> list[Ended]:
        deadline = _deadline(timeout)
        if self._workers and self._wakeup is not None:
            self._selector.unregister(self._wakeup)
        self._closed = True
        try:
            for worker in self._workers:
                self._assign(worker)
            while self._workers and _left(deadline) != 0:
                self._attend(_left(deadline))
        finally:
            ended = self.kill()
        return ended

    def kill(self) -> list[Ended]:
        self._closed = True
        for worker in self._workers:
            worker.kill()
        while self._workers:
            self._bury(self._workers[0])
        self._selector.close()
        atexit.unregister(self._kill_at_exit)
        return self._take_ended()

    def _kill_at_exit(self) -> None:
        if os.getpid() == self._owner:  # and not a copy of it that was forked elsewhere
            self.kill()

    def _check_running(self) -> None:
        if self._closed or not self._owner:
            raise NotRunning

    def _take_ended(self) -> list[Ended]:
        ended, self._ended = self._ended, []
        return ended

    def _refill(self) -> None:
        while self._missing:
            if self._failed_starts >= _STARTS:
                raise StartFailed(
                    f"{_STARTS} workers in a row ended before they were ready: {self._complaint}"
                )
            if self._before_fork:
                self._before_fork()
            self._fork()

    def _fork(self) -> None:
        inherited = [self._selector.close, *(worker.disown for worker in self._workers)]
        with signals_blocked():  # so that no handler raises before the worker is in the books
            worker = Worker(self._initializer, inherited)
            self._workers.append(worker)
            self._missing -= 1
            self._selector.register(worker.channel, _READ, partial(self._converse, worker))
            self._selector.register(worker.death, _READ, partial(self._note_death, worker))

    def _attend(self, timeout: float | None) -> None:
        """Act on what one look at all descriptors brings."""
        self._dead.clear()  # an exception from a signal's handler may have left some: seen again
        for key, events in self._selector.select(timeout):
            key.data(events)
        while self._dead:  # last, since the same look may have brought their last words
            self._bury(self._dead.pop())

    def _note_wakeup(self, _events: int) -> None:
        self._news = True

    def _note_death(self, worker: Worker, _events: int) -> None:
        self._dead.append(worker)

    def _converse(self, worker: Worker, events: int) -> None:
        """Send what a worker has not taken in yet, and hear what it says."""
        for message in worker.channel.arrived():
            if end := worker.hear(message):
                self._ended.append(end)
            self._assign(worker)
        if worker.channel.closed_by_peer:
            self._selector.unregister(worker.channel)
            self._retire(worker)
        elif events & _WRITE and worker.flushed():
            self._selector.modify(worker.channel, _READ, partial(self._converse, worker))

    def _assign(self, worker: Worker) -> None:
        """What a worker does next: it goes on, it goes, or it takes tasks."""
        if worker.task or worker.leaving:
            return
        if self._closed:
            self._retire(worker)
            worker.dismiss()
        elif worker.finished == self._max_tasks:
            self._missing += 1
            worker.dismiss()
        elif worker.ready:
            self._failed_starts = 0
            self._news = True
            self._idle.append(worker)

    def _retire(self, worker: Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)

    def _bury(self, worker: Worker) -> None:
        """Take a dead worker out of the books, and see to its replacement."""
        self._retire(worker)
        self._workers.remove(worker)
        self._selector.unregister(worker.death)
        if not worker.channel.closed_by_peer:
            self._selector.unregister(worker.channel)
        if not worker.leaving:
            worker.kill()  # its process group, of which something may be left
            self._missing += 1
        ended, exitcode = worker.bury()
        self._ended += ended
        if not (worker.ready or worker.leaving):
            self._failed_starts += 1
            self._complaint = worker.complaint or describe_exit(exitcode)


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(deadline: float | None) -> float | None:
    """Seconds until then; not less than zero."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
