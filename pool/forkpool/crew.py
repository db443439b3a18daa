"""Who works in a pool: how many there are to be, who takes tasks, and who takes whose place."""

from collections.abc import Callable, Mapping

from forkpool.clock import earliest
from forkpool.errors import describe
from forkpool.starts import Starts
from forkpool.worker import Worker


class Crew:
    """The workers of a pool.

    One that ends, or is about to, has a successor. That is started as soon as there is a reason,
    and takes tasks when it has a place: there are as many places as workers were asked for.

    Args:
        places: number of workers that take tasks.
        start: starts a worker, which join()s; it is told which attempt in a row that is.
        waiting: what waits on the tray.
        work_once: whether each worker runs one task.

    Attributes:
        workers: all that are not reaped yet.
        starts: those attempts to start one that have failed.
        rested: whether somebody became idle without a task's end, since that was last asked.
    """

    def __init__(
        self,
        places: int,
        start: Callable[[int], None],
        waiting: Mapping[int, object],
        *,
        work_once: bool,
    ) -> None:
        self._places = self._missing = places
        self._start = start
        self._waiting = waiting
        self._work_once = work_once
        self.workers: list[Worker] = []
        self.starts = Starts()
        self.rested = False

    @property
    def idle(self) -> int:
        """Workers that hold no task, as far as they were seen."""
        return len([one for one in self.workers if one.task is None and one.is_at_work])

    @property
    def is_served(self) -> bool:
        """Whether somebody takes tasks, or is about to: where workers have started, the next one
        may be ready before the caller comes to it."""
        return self.starts.succeed or any(worker.is_at_work for worker in self.workers)

    @property
    def is_complete(self) -> bool:
        """Whether all workers are there, and nobody's first or last words are to be heard."""
        return not self._missing and all(worker.is_at_work for worker in self.workers)

    @property
    def refill_due(self) -> float | None:
        """When another one is to be started, on the monotonic clock."""
        return self.starts.due if self._missing and not self.starts.exhausted else None

    @property
    def deadline(self) -> float | None:
        """When somebody is to be pressed."""
        return earliest(*(worker.deadline for worker in self.workers))

    def gather(self) -> None:
        """Start all that are missing. Raises what a start raises."""
        while self._missing:
            self._start(self.starts.failed)

    def refill(self) -> None:
        """Start those that are missing, as far as that may succeed.

        Raises StartFailed if it does not, once; and again if nobody is left.
        """
        while self._missing and not (self.starts.paused or self.starts.exhausted):
            try:
                self._start(self.starts.failed)
            except OSError as error:  # no process or no descriptor is to be had
                self.starts.note_failure(self.starts.failed, describe(error))
        if self.starts.exhausted and not (self.starts.told and self.workers):
            self.starts.told = True
            raise self.starts.failure()

    def join(self, worker: Worker) -> None:
        """The worker was started."""
        self.workers.append(worker)
        self._missing -= 1
        self.fill_places()

    def welcome(self, worker: Worker) -> None:
        """The worker is ready."""
        self.starts.note_success()
        # Whatever it has taken by now: then that is left for another one no more.
        self.rested = self.rested or worker.has_place

    def replace(self, worker: Worker) -> None:
        """Have another one started for its place."""
        if not worker.has_successor:
            worker.has_successor = True
            self._missing += 1

    def retire(self, worker: Worker) -> None:
        """Have it go, and another one take its place."""
        self.replace(worker)
        worker.dismiss()
        self.fill_places()

    def part(self, worker: Worker) -> None:
        """The worker is dead."""
        self.workers.remove(worker)
        if not worker.leaving:
            self.replace(worker)
        self.fill_places()

    def fill_places(self) -> None:
        """Have as many take tasks as there are to be, those first that are ready."""
        taken = sum(worker.has_place and not worker.leaving for worker in self.workers)
        waiting = [worker for worker in self.workers if not worker.has_place]
        for worker in sorted(waiting, key=lambda one: not one.ready)[: self._places - taken]:
            worker.give_place()
            self.rested = self.rested or worker.ready
            if self._waiting and self._work_once:  # the one that waits is its last
                self.replace(worker)
