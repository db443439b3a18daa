"""The parent's side: fork, hand out, collect, refill, stop. One thread, which the caller drives.

::

    caller                  ForkPool (parent)                     child, one per worker
    ──────                  ─────────────────                     ─────────────────────
    submit(function, *args) ──> pickled ──> tray, one pipe ─────> take, which ever is the first
                                                                  run
    wait() <── Ended <──┬─────────────────────  socket <───────── report
                        │
                      watch <──── pidfd ─────────────────────────  the process ends: what it has
                        │                                         written is read first, then a
                        │                                         task that it still held died
                        └────── wakeup <── the caller's signals

A child's death is seen on its pidfd, since the socket may be held open by a process that a task has
left behind. What it has taken, and what its task shows, stands in memory that both sides share: the
parent looks there whenever it has a reason to look at all.
"""

import atexit
import os
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from forkpool.channel import dumps
from forkpool.child import Terms
from forkpool.clock import deadline_in, earliest, left
from forkpool.crew import Crew
from forkpool.errors import ForkUnavailable, NotRunning, PoolBusy, describe_exit
from forkpool.interface import Ended, Pool, Running, Task
from forkpool.signals import ALL, blocked
from forkpool.tray import Tray
from forkpool.watch import Watch
from forkpool.worker import Submitted, Worker

_AGAIN = 0.01  # seconds between looks at who has taken a task, while nobody says anything

_pools: "weakref.WeakSet[ForkPool]" = weakref.WeakSet()  # whose descriptors each child inherits


class ForkPool(Pool):
    """Workers that are forked from this process, and replaced when they die.

    Start it in a thread that lives as long as the pool (best the main one, before any other
    thread exists): on Linux a child is killed when the thread that forked it ends.

    Args:
        workers: number of processes that take tasks. A process that was told to go may still be
            ending while its replacement runs already; and while one runs the last task that it may,
            the next one is started, and waits for its place. (If each runs one task, and tasks
            wait, also the one after that: a start takes longer than many a task.)
        initializer: called in each child before it takes tasks.
        before_fork: called in the parent before every fork, at the start and at each refill.
        after_fork: called in the parent after every fork, also after one that has failed.
        max_tasks_per_child: after so many tasks a child is replaced by a fresh one; None is never.
        max_memory_per_child: a child that occupies more bytes after a task is replaced.
        memory_limit: of the address space of a child, in bytes: what its tasks try to allocate
            beyond it raises a MemoryError.
        ahead: so many tasks more than there are workers may be submitted: a worker that has ended
            one takes the next at once, and not when the caller has come to it. Without /proc, from
            which take_back() comes, there are none.
        grace: seconds between an interrupt() and the SIGTERM, if the task goes on; and between a
            SIGTERM, which also comes at the end of a task's time_limit, and the SIGKILL.
        patience: seconds after an interrupt() after which a task is ended though it was in no block
            all that time, and could not be interrupted; None leaves it alone.
        start_timeout: seconds that a child has until it is ready.
        wakeup: a descriptor that wait() watches as well; it stays open as long as the pool.
    """

    def __init__(
        self,
        workers: int,
        *,
        initializer: Callable[[], object] | None = None,
        before_fork: Callable[[], object] | None = None,
        after_fork: Callable[[], object] | None = None,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        memory_limit: int | None = None,
        ahead: int = 0,
        grace: float = 5.0,
        patience: float | None = None,
        start_timeout: float = 60.0,
        wakeup: int | None = None,
    ) -> None:
        _check("number of workers", workers)
        _check("number of tasks per child", max_tasks_per_child)
        _check("number of bytes per child", max_memory_per_child)
        _check("memory limit", memory_limit)
        _check("number of tasks ahead", ahead, least=0)
        self._terms = Terms(initializer, memory_limit, max_memory_per_child, max_tasks_per_child)
        self._before_fork = before_fork
        self._after_fork = after_fork
        self._most_ahead = ahead
        self._grace = grace
        self._patience = patience
        self._start_timeout = start_timeout
        self._owner: int | None = None  # process that started the pool
        self._closed = False
        self._watch = Watch(wakeup)
        self._tray = Tray()
        self._waiting: dict[int, Submitted] = {}  # what nobody was seen to have taken
        self._size = workers
        self._crew = Crew(
            workers, self._start_worker, self._waiting, work_once=max_tasks_per_child == 1
        )
        self._dead: list[Worker] = []
        self._handed_out = 0
        self._ended: list[Ended] = []
        _pools.add(self)

    @property
    def idle(self) -> int:
        return max(0, self._crew.idle - len(self._waiting))

    @property
    def room(self) -> int:
        ahead = self._most_ahead if self._crew.is_served and self._tray.gives_back else 0
        return max(0, self._crew.idle + ahead - len(self._waiting))

    @property
    def ahead(self) -> int:
        self._notice()
        return max(0, len(self._waiting) - self._crew.idle) if self._waiting else 0

    @property
    def busy(self) -> int:
        return len(self._waiting) + sum(worker.task is not None for worker in self._crew.workers)

    @property
    def waiting(self) -> list[Task]:
        self._notice()
        return [submitted.task for submitted in self._waiting.values()]

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._crew.workers]

    def start(self) -> None:
        if not hasattr(os, "fork"):
            raise ForkUnavailable
        if self._closed:
            raise NotRunning
        if self._owner:
            return
        self._owner = os.getpid()
        self._watch.start()
        self._tray.start(self._size + self._most_ahead)
        self._most_ahead = max(0, min(self._most_ahead, self._tray.capacity - self._size))
        # Python waits for its children when it exits: a forgotten pool would keep it for ever.
        atexit.register(self._kill_at_exit)
        try:
            self._crew.gather()
        except BaseException:
            self.kill()
            raise

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        begin_limit: float | None = None,
    ) -> Task:
        self._check_running()
        if not self.room:
            raise PoolBusy
        number = self._handed_out + 1
        task = Task(number, function, args, time_limit, soft_time_limit, begin_limit)
        message = dumps((function, args, soft_time_limit))
        with blocked():  # on the tray and in the books, or neither
            if not self._tray.put(task.number, message):
                raise PoolBusy
            self._handed_out = task.number
            self._waiting[task.number] = Submitted(task, message)
        return task

    def take_back(self) -> list[Task]:
        self._check_running()
        with blocked():
            numbers = self._tray.take_back()
            return [self._waiting.pop(number).task for number in numbers]

    def wait(
        self, timeout: float | None = None, wakeups: Iterable[int] = (), rest: float = 0.0
    ) -> list[Ended]:
        self._check_running()
        deadline = deadline_in(timeout)
        self._crew.rested = self._watch.woken = False
        try:
            self._watch.wakeups(wakeups)
            if rest and not self._ended and self._crew.is_complete:
                seconds = left(self._due(earliest(deadline, deadline_in(rest)))) or 0.0
                self._watch.rest(seconds, [worker.death for worker in self._crew.workers])
            while not (self._ended or self._crew.rested or self._watch.woken):
                self._crew.refill()
                if not self._watch.woken:
                    self._attend(deadline)
                if left(deadline) == 0:
                    break
        finally:
            self._watch.wakeups(())
        return self._take_ended()

    def running(self) -> list[Running]:
        with blocked():  # the values are rebuilt, which runs their own code
            self._notice()
            running = [worker.running() for worker in self._crew.workers]
        return sorted(filter(None, running), key=lambda held: held.task.number)

    def interrupt(self, number: int) -> bool:
        self._notice()
        for worker in self._crew.workers:
            if worker.task and worker.task.number == number:
                worker.interrupt()
                return True
        if submitted := self._waiting.get(number):
            submitted.is_unwanted = True
        return submitted is not None

    def shutdown(self, timeout: float | None = None) -> list[Ended]:
        deadline = deadline_in(timeout)
        if self._crew.workers:
            self._watch.stop()
        self._closed = True
        self._tray.end()
        try:
            for worker in self._crew.workers:
                self._assign(worker)
            while self._crew.workers and left(deadline) != 0:
                self._attend(deadline)
        finally:
            ended = self.kill()
        return ended

    def kill(self) -> list[Ended]:
        self._closed = True
        for worker in self._crew.workers:
            worker.kill()
        while self._crew.workers:
            self._bury(self._crew.workers[0])
        self._waiting.clear()
        self._watch.close()
        self._tray.close()
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

    def _start_worker(self, attempt: int) -> None:
        try:
            if self._before_fork:
                self._watch.let_go()  # of what it may close
                self._before_fork()
            self._fork(attempt)
        finally:
            if self._after_fork:
                self._after_fork()

    def _fork(self, attempt: int) -> None:
        inherited = [pool._disown for pool in _pools if pool is not self]
        with blocked(ALL):  # until they are reset in the child, and booked here
            worker = Worker(
                self._terms,
                self._tray,
                self._waiting,
                [*inherited, self._disown_siblings],
                self._start_timeout,
                self._grace,
                self._patience,
                attempt,
            )
            self._crew.join(worker)
            self._watch.add(worker.channel, partial(self._converse, worker))
            self._watch.add(worker.death, partial(self._note_death, worker))

    def _disown(self) -> None:
        """In a child of another pool: close what it inherited."""
        self._disown_siblings()
        self._tray.close()

    def _disown_siblings(self) -> None:
        """In a child of this pool: close what it does not need."""
        self._watch.close()
        self._tray.keep_reader()
        for worker in self._crew.workers:
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
            self._notice()
            self._press()

    def _notice(self) -> None:
        """See what the workers have taken."""
        if self._waiting:
            for worker in self._crew.workers:
                if worker.task is None:
                    worker.notice()

    def _due(self, deadline: float | None) -> float | None:
        """When there is something to do though no descriptor says so."""
        refill = None if self._closed else self._crew.refill_due
        again = deadline_in(_AGAIN) if self._is_to_notice else None
        return earliest(deadline, refill, again, self._crew.deadline)

    @property
    def _is_to_notice(self) -> bool:
        """Whether a worker may take a task any moment for which something is to be done then."""
        bounded = any(one.is_unwanted or one.task.is_bounded for one in self._waiting.values())
        return bounded and any(worker.task is None for worker in self._crew.workers)

    def _press(self) -> None:
        """See to those that are late, unless what they have said by now makes up for it."""
        for worker in self._crew.workers:
            if worker.late:
                self._hear(worker, worker.channel.rest())
                if worker.late:
                    worker.press()

    def _note_death(self, worker: Worker, _writable: bool) -> None:
        self._dead.append(worker)

    def _converse(self, worker: Worker, writable: bool) -> None:
        """Send what a worker has not taken in yet, and hear what it says."""
        self._hear(worker, worker.channel.arrived())
        if worker.channel.closed_by_peer:
            self._watch.drop(worker.channel)
            worker.lose()
        elif writable and worker.flushed():
            self._watch.also_writable(worker.channel, False)

    def _hear(self, worker: Worker, messages: list[bytes]) -> None:
        for message in messages:
            was_ready = worker.ready
            if end := worker.hear(message):
                self._ended.append(end)
            if worker.is_last:
                self._crew.replace(worker)
            if worker.ready and not was_ready:
                self._crew.welcome(worker)
            if worker.channel.unsent:
                self._watch.also_writable(worker.channel, True)
            self._assign(worker)

    def _assign(self, worker: Worker) -> None:
        """What a worker does next: it goes on, or it goes."""
        worker.notice()
        if worker.task or worker.leaving:
            return
        if self._closed and worker.has_place:
            worker.leaving = True  # once nothing is left on the tray
        elif self._closed:
            worker.spare()
        elif worker.overdue or worker.worn:
            self._crew.retire(worker)

    def _bury(self, worker: Worker) -> None:
        """Take a dead worker out of the books."""
        self._watch.drop(worker.death)
        self._watch.drop(worker.channel)
        worker.kill()  # its process group, of which its tasks may have left something
        self._crew.part(worker)
        ended, exitcode = worker.bury()
        self._ended += ended
        if not (worker.ready or worker.leaving):
            complaint = worker.complaint or describe_exit(exitcode)
            self._crew.starts.note_failure(worker.attempt, complaint)


def _check(what: str, number: int | None, least: int = 1) -> None:
    if number is not None and number < least:
        raise ValueError(f"the {what} must be at least {least}, not {number}")
