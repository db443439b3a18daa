"""What can go wrong with a pool or with a task in it.

::

    PoolError
    ├── ForkUnavailable      start(): this platform has no fork
    ├── NotRunning           submit(), wait(): before start() or after the end
    ├── PoolBusy             submit(): no worker is idle
    ├── NotPicklable         submit(): the function or an argument cannot be sent;
    │                        Ended.error: the result arrived and could not be read
    ├── StartFailed          wait(): children end before they are ready
    ├── TaskRaised           Ended.error: the function raised
    └── WorkerDied           Ended.error: the process ended with the task in its hands
        ├── TimeLimitExceeded    it was ended, since the task took too long
        ├── NeverUnderWay        it was ended, since the task did not come under way
        └── WorkerInterrupted    it was ended, since the task went on after its interruption

    BaseException
    ├── TaskInterrupted      raised in a task that somebody wants to end
    └── TaskTimeout          raised in a task that takes too long

The docstring of a class is its default message.
"""

import inspect
import signal
from typing import Any


class PoolError(Exception):
    """The pool could not do what it was asked for."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or ""))


class ForkUnavailable(PoolError):
    """This platform cannot fork processes: run the tasks in this process, with an InlinePool."""


class NotRunning(PoolError):
    """The pool is not running: it was not started yet, or it has ended."""


class PoolBusy(PoolError):
    """There is no room for a task: wait() until `room` is greater than zero."""


class NotPicklable(PoolError):
    """The object cannot be sent between processes."""


class StartFailed(PoolError):
    """The workers end before they are ready to take a task."""


class TaskRaised(PoolError):
    """The task raised an exception.

    Attributes:
        exception: the exception's ``repr``.
        traceback: the formatted traceback, as the process that ran the task saw it.
        original: the exception itself, without its traceback, where it can be pickled; else None.
    """

    def __init__(
        self, exception: str, traceback: str, original: BaseException | None = None
    ) -> None:
        super().__init__(exception)
        self.args = exception, traceback, original
        self.exception = exception
        self.traceback = traceback
        self.original = original

    def __str__(self) -> str:
        return self.exception


class WorkerDied(PoolError):
    """The worker's process ended with a task in its hands.

    Attributes:
        pid: of the process that ended.
        exitcode: as of a Process: the exit status, or minus the signal's number; None where
            somebody else collected it (a SIGCHLD that is ignored, a stray ``os.wait()``).
        note: the latest one that the process has sent with tell_parent(); else None.
    """

    def __init__(self, pid: int, exitcode: int | None, note: Any = None) -> None:
        super().__init__()
        self.args = pid, exitcode, note
        self.pid = pid
        self.exitcode = exitcode
        self.note = note

    def __str__(self) -> str:
        end = f"worker {self.pid} {describe_exit(self.exitcode)}"
        if self.exitcode is not None and self.exitcode < 0:
            return end
        return f"{end} while it held a task"


class TimeLimitExceeded(WorkerDied):
    """The worker's process was ended, because its task ran longer than its `time_limit`.

    Attributes:
        limit: in seconds.
    """

    def __init__(self, pid: int, exitcode: int | None, limit: float, note: Any = None) -> None:
        super().__init__(pid, exitcode, note)
        self.args = pid, exitcode, limit, note
        self.limit = limit

    def __str__(self) -> str:
        return f"{super().__str__()}, at the task's time limit of {self.limit:g} s"


class NeverUnderWay(WorkerDied):
    """The worker's process was ended, because its task was not under way at its `begin_limit`."""

    def __str__(self) -> str:
        return f"{super().__str__()}, since the task did not come under way"


class WorkerInterrupted(WorkerDied):
    """The worker's process was ended, because its task went on after it was interrupted."""

    def __str__(self) -> str:
        return f"{super().__str__()}, since the task went on after it was interrupted"


class TaskInterrupted(BaseException):
    """The task was interrupted.

    No Exception, so that ``except Exception`` in a task does not swallow it.
    """

    def __str__(self) -> str:
        return "the task was interrupted"


class TaskTimeout(BaseException):
    """The task took longer than its soft time limit.

    No Exception, so that ``except Exception`` in a task does not swallow it.

    Attributes:
        limit: in seconds.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"the task took longer than its soft time limit of {self.limit:g} s"


def describe(error: BaseException) -> str:
    """``repr(error)``, also of an exception that cannot even say that."""
    try:
        return repr(error)
    except BaseException:  # noqa: BLE001 - it is code of its author
        return f"<{type(error).__qualname__}, whose repr() raises>"


def describe_exit(exitcode: int | None) -> str:
    """How a process ended, in words that follow its name."""
    if exitcode is None:
        return "ended, nobody knows how,"
    if exitcode >= 0:
        return f"exited with code {exitcode}"
    try:
        return f"was killed by {signal.Signals(-exitcode).name}"
    except ValueError:  # a real-time signal has a number and no name
        return f"was killed by signal {-exitcode}"
