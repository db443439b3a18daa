"""The parent's handle on one child: its process, its channel and the task that it holds.

A child takes its next task unseen. So before its process is ended for the task that it holds, its
slot says that it is to take no other; and it says itself there that a task has ended, before it
looks. If it has not said so by then, it holds that task and no other until its process ends.
"""

import gc
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import multiprocess.util  # its exit handler waits for children: it must exist before the pool's

from forkpool import child, interrupts
from forkpool.board import Slot
from forkpool.channel import Channel, loads, loads_or_error
from forkpool.clock import left
from forkpool.deadlines import Deadlines
from forkpool.errors import (
    NeverUnderWay,
    NotPicklable,
    PoolError,
    TaskRaised,
    TimeLimitExceeded,
    WorkerDied,
)
from forkpool.interface import Ended, Running, Task
from forkpool.tray import Tray

_LAST_MOMENT = 1.0  # seconds that a process without a channel has to end by itself


@dataclass(slots=True)
class Submitted:
    """A task that was submitted.

    Attributes:
        message: what its worker is to read.
        is_unwanted: whether it is to be interrupted as soon as a worker is seen to have taken it.
    """

    task: Task
    message: bytes
    is_unwanted: bool = False


class Worker:
    """A child process that runs one task at a time.

    Attributes:
        pid: its process id, and the id of its process group.
        death: a descriptor that is readable when the process has ended.
        attempt: which attempt in a row to start workers it belongs to.
        task: what it holds at the moment, as far as the parent has seen.
        since: when it began that, on the monotonic clock.
        finished: number of tasks that it has reported.
        ready: whether it has been initialised.
        has_place: whether it was told to take tasks.
        is_last: whether it has taken the last task that it may.
        has_successor: whether the one that takes its place is counted already.
        lost: whether its channel has ended, so that nothing more will come of it.
        overdue: whether it was asked to end, since its task took too long.
        worn: whether it occupies more memory than it should.
        leaving: whether it was told to go.
        complaint: why it could not be initialised, if that is known.
        note: the latest one that it sent.
    """

    def __init__(
        self,
        terms: child.Terms,
        tray: Tray,
        waiting: dict[int, Submitted],
        inherited: Iterable[Callable[[], None]],
        start_timeout: float,
        grace: float,
        patience: float | None,
        attempt: int,
    ) -> None:
        self.channel, theirs = Channel.pair()
        self._slot = Slot()
        birth = child.Birth(
            channel=theirs,
            tray=tray,
            slot=self._slot,
            parent=os.getpid(),
            inherited=[self.channel.close, *inherited],
            terms=terms,
            collects=gc.isenabled(),
        )
        try:
            self._process = fork(birth)
        except BaseException:
            self.channel.close()
            self._slot.close()
            raise
        finally:
            theirs.close()
        self.pid: int = self._process.pid
        self.death = self._watch_death()
        self.attempt = attempt
        self._waiting = waiting
        self._message = b""
        self.task: Task | None = None
        self.since = 0.0
        self.finished = 0
        self.ready = False
        self.has_place = False
        self.is_last = False
        self.has_successor = False
        self._start_timeout = start_timeout
        self._grace = grace
        self._deadlines = Deadlines(self._slot, grace, patience)
        self._deadlines.set(start_timeout)
        self.lost = False
        self.overdue = False
        self._verdict: type[WorkerDied] = WorkerDied  # what its death means for its task
        self.worn = False
        self.leaving = False
        self.complaint: str | None = None
        self.note: Any = None

    def _watch_death(self) -> int:
        """A pidfd where there is one.

        The sentinel of a Process is a pipe, which a process that the child leaves behind keeps
        open: the child's death would go unseen.
        """
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):  # a kernel or a sandbox without it
                return os.pidfd_open(self.pid)
        return int(self._process.sentinel)

    def notice(self) -> None:
        """See what it has taken, unless the end of what it held before is still to be heard."""
        if self.task:
            return
        number = self._slot.taken
        if submitted := self._waiting.get(number):
            self._hold(submitted)
            # Last: an exception of a signal's handler may leave it in both places, not in none.
            self._waiting.pop(number, None)

    def _hold(self, submitted: Submitted) -> None:
        self.task, self._message = submitted.task, submitted.message
        self.since = self._slot.since(self.task.number)
        if not self.lost:
            self._deadlines.begin(self.task, self.since)
        if submitted.is_unwanted:
            self.interrupt()

    def interrupt(self) -> None:
        """Have its task interrupted, and see to it that the task ends; the second time nothing."""
        if self.task is None or self.overdue or self.lost or self._deadlines.is_interrupted:
            return
        self._deadlines.interrupt()
        self._slot.wanted = self.task.number
        with suppress(ProcessLookupError):  # somebody else has reaped it
            interrupts.signal_to(self.pid)

    def running(self) -> Running | None:
        """What it holds and shows."""
        if self.task is None:
            return None
        shown = self._slot.read(self.task.number)
        return Running(self.task, self.pid, self.since, shown and loads_or_error(shown))

    @property
    def is_at_work(self) -> bool:
        """Whether it holds a task or waits for one."""
        return self.ready and self.has_place and not (self.leaving or self.lost)

    def give_place(self) -> None:
        """Have it take tasks."""
        self.has_place = True
        with suppress(OSError):  # it is dead already
            self.channel.send(b"")

    def dismiss(self) -> None:
        """Have it go after what it may hold now. If it waits, that is after one more task, or when
        the tray ends."""
        self.leaving = True
        self._slot.leaves = True

    def spare(self) -> None:
        """Have it go, as it never had a place: at once, however long its start would take."""
        self.dismiss()
        if self.ready:
            self.give_place()
        else:
            self.kill()

    def flushed(self) -> bool:
        """Send more of its task; whether nothing is left to send."""
        with suppress(OSError):  # it is dying, and with it what was left
            self.channel.flush()
        return not self.channel.unsent

    def hear(self, message: bytes) -> Ended | None:
        """Take in what it says; the end of a task, if that is what it says."""
        match loads(message):
            case ("returned", number, pickled):
                return self._heed_value(number, pickled)
            case ("ready",):
                self.ready = True
                # Of the task, if that was seen first: with a place from the start, it takes one.
                self._deadlines.heed_task()
            case ("failed", text):
                self.complaint = text
            case ("last",):
                self.is_last = True
            case ("worn",):
                self.worn = True
            case ("want",):
                self.notice()
                with suppress(OSError):  # it is dead already
                    self.channel.send(self._message)
            case ("note", pickled):
                self.note = loads_or_error(pickled)
            case ("raised", number, exception, trace, pickled):
                original = child.unpickled(pickled)
                return self._end(number, error=TaskRaised(exception, trace, original))
        return None

    def _heed_value(self, number: int, pickled: bytes) -> Ended | None:
        try:
            return self._end(number, value=loads(pickled))
        except NotPicklable as error:
            return self._end(number, error=error)

    def _end(
        self, number: int, value: object = None, error: PoolError | None = None
    ) -> Ended | None:
        """The end of a task, of which the parent may not have seen the beginning."""
        seconds = 0.0
        submitted = self._waiting.pop(number, None)
        if self.task and self.task.number == number:
            task, self.task = self.task, None
            seconds = time.monotonic() - self.since
            self._deadlines.end()
        elif submitted:
            task = submitted.task
        else:  # not an answer to anything
            return None
        self.finished += 1
        return Ended(task, self.pid, value, error, seconds)

    @property
    def deadline(self) -> float | None:
        """When press() is to be called, on the monotonic clock."""
        return self._deadlines.next

    @property
    def late(self) -> bool:
        """Whether its deadline has passed."""
        return left(self.deadline) == 0

    def lose(self) -> None:
        """Its channel has ended. Mostly the process ends with it; but a task may have closed the
        channel, and left a thread for which Python would wait."""
        self.lost = True
        self._slot.leaves = True
        self._deadlines.set(_LAST_MOMENT)

    def press(self) -> None:
        """Its deadline has passed: ask it to end, and next time make it."""
        if not (self.ready or self.lost):
            self.complaint = self.complaint or f"was not ready within {self._start_timeout:g} s"
        if self.lost or self.overdue or not self.ready:
            self._deadlines.set(None)
            self.kill()
        elif verdict := self._deadlines.verdict():
            self._terminate(verdict)

    def _terminate(self, verdict: type[WorkerDied]) -> None:
        self.overdue, self._verdict = True, verdict
        self._deadlines.set(self._grace)
        self._slot.leaves = True
        if self.task and self._slot.ended != self.task.number:  # else its report is under way
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to its process group, so that what the task started ends with it."""
        self._process.kill()  # by itself as well: a task may have moved it to another group
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in there
            os.killpg(self.pid, signal.SIGKILL)

    def bury(self) -> tuple[list[Ended], int | None]:
        """Reap the process: the ends that it did report, or its death; and its exit code."""
        self._process.join()
        exitcode = self._process.exitcode
        ended = [end for message in self.channel.rest() if (end := self.hear(message))]
        self.notice()
        if self.task:
            error = self._death(self.task, exitcode)
            ended += filter(None, [self._end(self.task.number, error=error)])
        self._close()
        return ended, exitcode

    def _death(self, task: Task, exitcode: int | None) -> WorkerDied:
        if self._verdict is TimeLimitExceeded and task.time_limit is not None:
            return TimeLimitExceeded(self.pid, exitcode, task.time_limit, self.note)
        if self._verdict is NeverUnderWay and self._slot.under_way == task.number:
            return WorkerDied(self.pid, exitcode, self.note)  # it was, at the last moment
        return self._verdict(self.pid, exitcode, self.note)

    def _close(self) -> None:
        self.channel.close()
        self._slot.close()
        if self.death != self._process.sentinel:
            os.close(self.death)
        with suppress(ValueError):  # somebody else reaped it, so that it seems to run for ever
            self._process.close()

    def disown(self) -> None:
        """Close the descriptors, in a sibling that inherited copies of them."""
        self.channel.close()
        self._slot.close()
        # Beside the sentinel a Process has a pipe that tells the child of its parent's end. It is
        # known to the finalizer alone, which refuses to do its work in another process.
        pipes = getattr(self._process._popen.finalizer, "_args", ())
        for descriptor in {self.death, self._process.sentinel, *pipes}:
            os.close(descriptor)


def fork(birth: child.Birth) -> "multiprocess.process.BaseProcess":
    """Fork a child that lives its life from there on."""
    context = multiprocess.get_context("fork")
    # Not daemonic: tasks may start processes.
    process = context.Process(target=child.live, args=(birth,), daemon=False)
    with _collector_paused():
        process.start()
    with suppress(OSError):  # the child does so as well: now it is true for both, whoever is first
        os.setpgid(process.pid, process.pid)
    return process


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the child from collecting the parent's garbage before it can freeze it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
