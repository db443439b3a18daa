"""What every pool promises, whichever way it runs its tasks."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from forkpool.errors import PoolError


@dataclass(frozen=True, slots=True)
class Task:
    """One call that was handed out.

    Attributes:
        number: the place of the hand-out in the pool's sequence, from 1.
    """

    number: int
    function: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended: with a value, or with an error.

    Attributes:
        pid: of the process that held the task.
        error: None if the function returned; `value` is then what it returned.
    """

    task: Task
    pid: int
    value: Any = None
    error: PoolError | None = None


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

    def submit(self, function: Callable[..., Any], *args: Any) -> Task:
        """Hand a call to an idle worker, at once.

        Raises:
            PoolBusy: no worker is idle.
            NotPicklable: the function or its arguments cannot be sent to the worker.
            NotRunning: before start() or after the end.
        """
        ...

    def wait(self, timeout: float | None = None) -> list[Ended]:
        """Tasks that have ended, each of them once, in the order in which they did.

        Returns early, with an empty list, when a worker became idle without a task's end (at the
        start, or as the replacement of another one) and when the wake-up descriptor is readable
        (it is the owner who drains it).

        Args:
            timeout: in seconds; 0 only looks, None waits without a limit.

        Raises:
            StartFailed: workers end again and again before they are ready.
            NotRunning: before start() or after the end.
        """
        ...

    def shutdown(self, timeout: float | None = None) -> list[Ended]:
        """Let running tasks finish, then end all workers; returns what ended meanwhile.

        Heeds no wake-up. An owner who wants to hear of a second signal waits until nothing is
        `busy`, and shuts down then.

        Args:
            timeout: in seconds; what still runs after it is killed. None waits without a limit.
        """
        ...

    def kill(self) -> list[Ended]:
        """End all workers at once; returns the results that had arrived, and the deaths."""
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
