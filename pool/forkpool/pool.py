"""The parent's side: fork, hand out, collect, refill, stop. One thread, which the caller drives.

::

    caller                  ForkPool (parent)                     child, one per worker
    ──────                  ─────────────────                     ─────────────────────
    submit(function, *args) ──> pickled ─────── socket ─────────> receive
                                                                  run
    wait() <── Ended <──┬─────────────────────  socket <───────── report
                        │
                      watch <──── pidfd ─────────────────────────  the process ends: what it has
                        │                                         written is read first, then a
                        │                                         task that it still held died
                        └────── wakeup <── the caller's signals

A child's death is seen on its pidfd, since the socket may be held open by a process that a task has
left behind. What a task shows stands in memory that both sides share, and passes by all of this.
"""

import atexit
import os
import signal
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from forkpool.channel import dumps
from forkpool.child import Terms
from forkpool.clock import deadline_in, earliest, left
from forkpool.errors import ForkUnavailable, NotRunning, PoolBusy, describe, describe_exit
from forkpool.interface import Ended, Pool, Running, Task
from forkpool.signals import blocked
from forkpool.starts import Starts
from forkpool.watch import Watch
from forkpool.worker import Worker

_pools: "weakref.WeakSet[ForkPool]" = weakref.WeakSet()  # whose descriptors each child inherits


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
        max_memory_per_child: a child that occupies more bytes after a task is replaced.
        memory_limit: of the address space of a child, in bytes: what its tasks try to allocate
            beyond it raises a MemoryError.
        grace: seconds between an interrupt() and the SIGTERM, if the task goes on; and between a
            SIGTERM, which also comes at the end of a task's time_limit, and the SIGKILL.
        start_timeout: seconds that a child has until it is ready.
        wakeup: a descriptor that wait() watches as well; it stays open as long as the pool.
    """

    def __init__(
        self,
        workers: int,
        *,
        initializer: Callable[[], object] | None = None,
        before_fork: Callable[[], object] | None = None,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        memory_limit: int | None = None,
        grace: float = 5.0,
        start_timeout: float = 60.0,
        wakeup: int | None = None,
    ) -> None:
        _check("number of workers", workers)
        _check("number of tasks per child", max_tasks_per_child)
        _check("number of bytes per child", max_memory_per_child)
        _check("memory limit", memory_limit)
        self._terms = Terms(initializer, memory_limit, max_memory_per_child)
        self._before_fork = before_fork
        self._max_tasks = max_tasks_per_child
        self._grace = grace
        self._start_timeout = start_timeout
        self._owner: int | None = None  # process that started the pool
        self._closed = False
        self._watch = Watch(wakeup)
        self._workers: list[Worker] = []  # all that are not reaped yet
        self._idle: list[Worker] = []
        self._dead: list[Worker] = []
        self._missing = workers
        self._starts = Starts()
        self._handed_out = 0
        self._ended: list[Ended] = []
        self._rested = False  # a worker became idle without a task's end, for which wait() returns
        _pools.add(self)

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
        self._watch.start()
        # Python waits for its children when it exits: a forgotten pool would keep it for ever.
        atexit.register(self._kill_at_exit)
        try:
            while self._missing:
                self._prepare()
                self._fork()
        except BaseException:
            self.kill()
            raise

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
    ) -> Task:
        self._check_running()
        if not self._idle:
            raise PoolBusy
        task = Task(self._handed_out + 1, function, args, time_limit, soft_time_limit)
        message = dumps((task.number, function, args, soft_time_limit))
        while self._idle:
            worker = self._idle.pop()  # the last one to rest: its caches are warm
            if worker.hand(task, message):
                self._handed_out = task.number
                if worker.channel.unsent:
                    self._watch.also_writable(worker.channel, True)
                return task
        raise PoolBusy  # those that seemed idle are dead, as wait() will find out

    def wait(self, timeout: float | None = None, wakeups: Iterable[int] = ()) -> list[Ended]:
        self._check_running()
        deadline = deadline_in(timeout)
        self._rested = self._watch.woken = False
        try:
            self._watch.wakeups(wakeups)
            while not (self._ended or self._rested or self._watch.woken):
                self._refill()
                self._attend(deadline)
                if left(deadline) == 0:
                    break
        finally:
            self._watch.wakeups(())
        return self._take_ended()

    def running(self) -> list[Running]:
        with blocked():  # the values are rebuilt, which runs their own code
            running = [worker.running() for worker in self._workers]
        return sorted(filter(None, running), key=lambda held: held.task.number)

    def interrupt(self, number: int) -> bool:
        for worker in self._workers:
            if worker.task and worker.task.number == number:
                worker.interrupt(self._grace)
                return True
        return False

    def shutdown(self, timeout: float | None = None) -> list[Ended]:
        deadline = deadline_in(timeout)
        if self._workers:
            self._watch.stop()
        self._closed = True
        try:
            for worker in self._workers:
                self._assign(worker)
            while self._workers and left(deadline) != 0:
                self._attend(deadline)
        finally:
            ended = self.kill()
        return ended

    def kill(self) -> list[Ended]:
        self._closed = True
        for worker in self._workers:
            worker.kill()
        while self._workers:
            self._bury(self._workers[0])
        self._watch.close()
        _pools.discard(self)
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
        while self._missing and not (self._starts.paused or self._starts.exhausted):
            self._prepare()
            try:
                self._fork()
            except OSError as error:  # no process or no descriptor is to be had
                self._starts.note_failure(self._starts.failed, describe(error))
        if self._starts.exhausted and not (self._starts.told and self._workers):
            self._starts.told = True
            raise self._starts.failure()

    def _prepare(self) -> None:
        if self._before_fork:
            self._before_fork()

    def _fork(self) -> None:
        inherited = [pool._disown for pool in _pools]
        with blocked(signal.valid_signals()):  # until they are reset in the child, and booked here
            worker = Worker(self._terms, inherited, self._start_timeout, self._starts.failed)
            self._workers.append(worker)
            self._missing -= 1
            self._watch.add(worker.channel, partial(self._converse, worker))
            self._watch.add(worker.death, partial(self._note_death, worker))

    def _disown(self) -> None:
        """In a child of this pool or of another one: close what it inherited."""
        self._watch.close()
        for worker in self._workers:
            worker.disown()

    def _attend(self, deadline: float | None) -> None:
        """Act on what one look at all descriptors brings."""
        self._dead.clear()  # an exception from a signal's handler may have left some: seen again
        looks = self._watch.look(left(self._due(deadline)))
        with blocked():  # what is read must get into the books, whatever the caller's handlers do
            for act, writable in looks:
                act(writable)
            while self._dead:  # last, since the same look may have brought their last words
                self._bury(self._dead.pop())
            self._press()

    def _due(self, deadline: float | None) -> float | None:
        """When there is something to do though no descriptor says so."""
        waits = self._missing and not (self._closed or self._starts.exhausted)
        refill = self._starts.due if waits else None
        return earliest(deadline, refill, *(worker.deadline for worker in self._workers))

    def _press(self) -> None:
        """See to those that are late, unless what they have said by now makes up for it."""
        for worker in self._workers:
            if worker.late:
                self._hear(worker, worker.channel.rest())
            if worker.late:
                worker.press(self._grace)

    def _note_death(self, worker: Worker, _writable: bool) -> None:
        self._dead.append(worker)

    def _converse(self, worker: Worker, writable: bool) -> None:
        """Send what a worker has not taken in yet, and hear what it says."""
        self._hear(worker, worker.channel.arrived())
        if worker.channel.closed_by_peer:
            self._watch.drop(worker.channel)
            self._retire(worker)
            worker.lose()
        elif writable and worker.flushed():
            self._watch.also_writable(worker.channel, False)

    def _hear(self, worker: Worker, messages: list[bytes]) -> None:
        for message in messages:
            if end := worker.hear(message):
                self._ended.append(end)
            self._assign(worker)

    def _assign(self, worker: Worker) -> None:
        """What a worker does next: it goes on, it goes, or it takes tasks."""
        if worker.task or worker.leaving:
            return
        if self._closed:
            self._retire(worker)
            worker.dismiss()
        elif worker.overdue or worker.worn or worker.finished == self._max_tasks:
            self._missing += 1
            worker.dismiss()
        elif worker.ready and worker not in self._idle:
            if not worker.finished:
                self._starts.note_success()
            self._rested = True
            self._idle.append(worker)

    def _retire(self, worker: Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)

    def _bury(self, worker: Worker) -> None:
        """Take a dead worker out of the books, and see to its replacement."""
        self._retire(worker)
        self._workers.remove(worker)
        self._watch.drop(worker.death)
        self._watch.drop(worker.channel)
        worker.kill()  # its process group, of which its tasks may have left something
        if not worker.leaving:
            self._missing += 1
        ended, exitcode = worker.bury()
        self._ended += ended
        if not (worker.ready or worker.leaving):
            complaint = worker.complaint or describe_exit(exitcode)
            self._starts.note_failure(worker.attempt, complaint)


def _check(what: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise ValueError(f"the {what} must be at least one, not {number}")
