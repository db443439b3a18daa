"""What every pool promises, whichever way it runs its tasks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from forkpool.errors import PoolError


@dataclass(frozen=True, slots=True)
class Task:
    """One call that was handed out.

    Attributes:
        number: the place of the hand-out in the pool's sequence, from 1.
        time_limit: seconds after which its process is ended; None is no limit.
        soft_time_limit: seconds after which TaskTimeout is raised in it; None is no limit.
        begin_limit: seconds after which it should be under way; None is no limit.
    """

    number: int
    function: Callable[..., Any]
    args: tuple[Any, ...]
    time_limit: float | None = None
    soft_time_limit: float | None = None
    begin_limit: float | None = None

    def __post_init__(self) -> None:
        for limit in (self.time_limit, self.soft_time_limit, self.begin_limit):
            if limit is not None and limit <= 0:
                raise ValueError(f"a time limit is more than nothing, and not {limit} s")

    @property
    def is_bounded(self) -> bool:
        """Whether the parent is to see to it that it comes to an end."""
        return self.time_limit is not None or self.begin_limit is not None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended: with a value, or with an error.

    Attributes:
        pid: of the process that held the task.
        seconds: for which it held it; 0 if nobody saw it begin.
        error: None if the function returned; `value` is then what it returned.
    """

    task: Task
    pid: int
    value: Any = None
    error: PoolError | None = None
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Running:
    """A task that has not ended, as far as the pool knows.

    Attributes:
        pid: of the process that holds it.
        since: when it began, on the monotonic clock.
        shown: the latest value that it has shown with show(); None if there is none, and a
            NotPicklable if it cannot be rebuilt in the parent.
    """

    task: Task
    pid: int
    since: float
    shown: Any | None = None


class Pool(Protocol):
    """Runs one call per idle worker, and tells how each of them ended.

    As a context manager it is started on entry; on exit it is shut down, or killed if an
    exception passes through. What ends during the exit is not reported to anybody: call
    shutdown() or kill() inside the block where that matters.
    """

    @property
    def idle(self) -> int:
        """Number of workers that take a task at once."""
        ...

    @property
    def room(self) -> int:
        """Number of tasks that submit() takes now: for idle workers, and ahead of need."""
        ...

    @property
    def waiting(self) -> list[Task]:
        """Those that were submitted and that no worker has taken yet, in order."""
        ...

    @property
    def ahead(self) -> int:
        """Number of those for which no worker is idle."""
        ...

    @property
    def busy(self) -> int:
        """Number of tasks that were submitted and have not ended as far as the pool knows."""
        ...

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        ...

    def start(self) -> None:
        """Start the workers, without waiting until they are ready. Does nothing the second time.

        Raises:
            ForkUnavailable: there is no fork on this platform.
        """
        ...

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        begin_limit: float | None = None,
    ) -> Task:
        """Hand a call to the next worker that is idle: workers take tasks in their order.

        Args:
            soft_time_limit: in seconds, after which TaskTimeout is raised inside the function.
            time_limit: in seconds from when a worker takes it, after which the worker's process is
                ended, so that the task ends with TimeLimitExceeded. It cannot be kept by a pool
                whose tasks run in the calling process.

            begin_limit: in seconds from when a worker takes it, after which the worker's process is
                ended, so that the task ends with NeverUnderWay, unless the task has called
                under_way(). It cannot be kept by such a pool either.

        Raises:
            ValueError: a limit is not greater than 0.
            PoolBusy: there is no room.
            NotPicklable: the function or its arguments cannot be sent to the worker.
            NotRunning: before start() or after the end.
        """
        ...

    def take_back(self) -> list[Task]:
        """Those that no worker has taken yet, in order; they do not run, and do not end.

        Raises:
            NotRunning: before start() or after the end.
        """
        ...

    def wait(
        self, timeout: float | None = None, wakeups: Iterable[int] = (), rest: float = 0.0
    ) -> list[Ended]:
        """Tasks that have ended, each of them once, in the order in which they did.

        Returns early, with an empty list, when a worker became idle without a task's end (at the
        start, or as the replacement of another one) and when the wake-up descriptor, or one of
        this call's, is readable (it is the owner who drains it).

        Args:
            timeout: in seconds; 0 only looks, None waits without a limit.
            wakeups: descriptors that are watched as well, in this call only.
            rest: in seconds, for which the caller sleeps at first, whatever ends meanwhile, unless
                a wake-up is readable, a worker dies or a time limit is over: to hear of many short
                tasks at once costs less.

        Raises:
            OSError: a wake-up descriptor is closed, or of a kind that cannot be waited for.
            ValueError: a wake-up descriptor is a negative number.
            StartFailed: workers end again and again before they are ready. That is said once; the
                next calls go on with the workers that are left, and say it again when none is.
            NotRunning: before start() or after the end.
        """
        ...

    def running(self) -> list[Running]:
        """What the workers hold now, in the order of the hand-outs, with what it shows."""
        ...

    def interrupt(self, number: int) -> bool:
        """Raise TaskInterrupted in the task with that number, once, and in no other one.

        It strikes within ``with interruptible():``, and nowhere else in the task. If the task goes
        on for `grace` seconds in such a block or after it was struck, its process gets a SIGTERM,
        and a SIGKILL another grace later: it then ends with WorkerInterrupted. To ask again changes
        nothing.

        Returns:
            whether the task has not ended, as far as the pool knows; it may end by itself all the
            same. Always False where the tasks run in the calling process.
        """
        ...

    def shutdown(self, timeout: float | None = None) -> list[Ended]:
        """Let submitted tasks finish, then end all workers; returns what ended meanwhile.

        Heeds no wake-up. An owner who wants to hear of a second signal waits until nothing is
        `busy`, and shuts down then.

        Args:
            timeout: in seconds; what still runs after it is killed. None waits without a limit.
        """
        ...

    def kill(self) -> list[Ended]:
        """End all workers at once; returns the results that had arrived, and the deaths. What no
        worker had taken does not end: to know it, take it back first."""
        ...

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.shutdown()
        else:
            self.kill()
