"""The parent's handle on one child: its process, its channel and the task that it holds."""

import gc
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import multiprocess.util  # its exit handler waits for children: it must exist before the pool's

from forkpool import child
from forkpool.channel import Channel, loads
from forkpool.errors import NotPicklable, PoolError, TaskRaised, WorkerDied
from forkpool.interface import Ended, Task


class Worker:
    """A child process that runs one task at a time.

    Attributes:
        pid: its process id, and the id of its process group.
        death: a descriptor that is readable when the process has ended.
        task: what it holds at the moment.
        finished: number of tasks that it has reported.
        ready: whether it has been initialised.
        leaving: whether it was told to go.
        complaint: why it could not be initialised, if it said so.
    """

    def __init__(
        self,
        initializer: Callable[[], object] | None,
        inherited: Iterable[Callable[[], None]],
    ) -> None:
        self.channel, theirs = Channel.pair()
        birth = child.Birth(
            channel=theirs,
            parent=os.getpid(),
            inherited=[self.channel.close, *inherited],
            initializer=initializer,
            collects=gc.isenabled(),
        )
        try:
            self._process = fork(birth)
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pid: int = self._process.pid
        self.death = self._watch_death()
        self.task: Task | None = None
        self.finished = 0
        self.ready = False
        self.leaving = False
        self.complaint: str | None = None

    def _watch_death(self) -> int:
        """A pidfd where there is one.

        The sentinel of a Process is a pipe, which a process that the child leaves behind keeps
        open: the child's death would go unseen.
        """
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):  # a kernel or a sandbox without it
                return os.pidfd_open(self.pid)
        return int(self._process.sentinel)

    def hand(self, task: Task, message: bytes) -> bool:
        """Give it a task; False if it is dead already."""
        try:
            self.channel.send(message)
        except OSError:
            return False
        self.task = task
        return True

    def dismiss(self) -> None:
        """Tell it to go after what it may hold now."""
        self.leaving = True
        with suppress(OSError):  # it is gone
            self.channel.send(child.GO)

    def flushed(self) -> bool:
        """Send more of its task; whether nothing is left to send."""
        with suppress(OSError):  # it is dying, and with it what was left
            self.channel.flush()
        return not self.channel.unsent

    def hear(self, message: bytes) -> Ended | None:
        """Take in what it says; the end of its task, if that is what it says."""
        try:
            match loads(message):
                case ("ready",):
                    self.ready = True
                case ("failed", text):
                    self.complaint = text
                case ("returned", value):
                    return self._end(value=value)
                case ("raised", exception, trace, pickled):
                    original = child.unpickled(pickled)
                    return self._end(error=TaskRaised(exception, trace, original))
        except NotPicklable as error:
            return self._end(error=error)
        return None

    def _end(self, value: object = None, error: PoolError | None = None) -> Ended | None:
        task, self.task = self.task, None
        if task is None:  # not an answer to anything
            return None
        self.finished += 1
        return Ended(task, self.pid, value, error)

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
        if death := self._end(error=WorkerDied(self.pid, exitcode)):
            ended.append(death)
        self._close()
        return ended, exitcode

    def _close(self) -> None:
        self.channel.close()
        if self.death != self._process.sentinel:
            os.close(self.death)
        with suppress(ValueError):  # somebody else reaped it, so that it seems to run for ever
            self._process.close()

    def disown(self) -> None:
        """Close the descriptors, in a sibling that inherited copies of them."""
        self.channel.close()
        for descriptor in {self.death, self._process.sentinel}:
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
def signals_blocked() -> Iterator[None]:
    """Keep handlers of the parent from running in a child that has not reset them yet."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
