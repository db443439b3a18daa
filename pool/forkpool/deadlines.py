"""When something is to be done about a worker that takes too long, and what."""

from forkpool.board import Slot
from forkpool.clock import deadline_in, earliest, left
from forkpool.errors import NeverUnderWay, TimeLimitExceeded, WorkerDied, WorkerInterrupted
from forkpool.interface import Task


class Deadlines:
    """The deadlines of one worker: for its start, for the task that it holds, for its end.

    Args:
        slot: where its task shows how far it has come.
        grace: seconds between two looks at a task that was interrupted.
        patience: seconds after an interrupt after which the task is ended though it could not be
            interrupted all that time; None leaves it alone.

    Attributes:
        next: the first of them, on the monotonic clock; None if there is none.
    """

    def __init__(self, slot: Slot, grace: float, patience: float | None) -> None:
        self.next: float | None = None
        self._slot = slot
        self._grace = grace
        self._longest = patience
        self._task = 0  # its number
        self._limit: float | None = None  # when the task's time is over
        self._start: float | None = None  # when the task should be under way, until it is seen to
        self._patience: float | None = None  # when a task that was interrupted is looked at again
        self._no_longer: float | None = None  # when it should have ended, wherever it is
        self._in_reach = False  # of the interrupt, at the latest look

    def set(self, seconds: float | None) -> None:
        """Have one that is not about a task, whatever there was before."""
        self.next = deadline_in(seconds)

    def begin(self, task: Task, since: float) -> None:
        """It has begun this task then."""
        self._task = task.number
        self._limit = None if task.time_limit is None else since + task.time_limit
        self._start = None if task.begin_limit is None else since + task.begin_limit
        self.heed_task()

    def end(self) -> None:
        """The task has ended."""
        self._limit = self._start = self._patience = self._no_longer = self.next = None

    def heed_task(self) -> None:
        """Nothing but the task, if it holds one, is a reason to look at it."""
        self.next = earliest(self._limit, self._start, self._patience)

    @property
    def is_interrupted(self) -> bool:
        """Whether the task is to end since it was interrupted."""
        return self._patience is not None

    def interrupt(self) -> None:
        """The task is interrupted: it should end within the grace."""
        self._in_reach = self._is_in_reach
        self._no_longer = deadline_in(self._longest)
        self._be_patient()

    def verdict(self) -> type[WorkerDied] | None:
        """The first one has passed: why the worker is to be ended, or None if it may go on."""
        if left(self._limit) == 0:
            return TimeLimitExceeded
        if left(self._start) == 0:
            return self._verdict_on_start()
        if self._was_in_reach() or left(self._no_longer) == 0:
            return WorkerInterrupted
        self._be_patient()
        return None

    def _verdict_on_start(self) -> type[WorkerDied] | None:
        if self._slot.under_way != self._task:
            return NeverUnderWay
        self._start = None
        self.heed_task()
        return None

    def _be_patient(self) -> None:
        self._patience = earliest(deadline_in(self._grace), self._no_longer)
        self.heed_task()

    def _was_in_reach(self) -> bool:
        """Whether the task has had a grace of time since the interrupt struck it or could do so."""
        before, self._in_reach = self._in_reach, self._is_in_reach
        return before and self._in_reach

    @property
    def _is_in_reach(self) -> bool:
        return self._slot.exposed == self._task
