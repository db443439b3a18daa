"""A pool for those who know `concurrent.futures`. Without threads: whoever asks drives the pool."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

from forkpool.clock import deadline_in, left
from forkpool.errors import NotPicklable, PoolBusy, PoolError, StartFailed, TaskRaised
from forkpool.interface import Ended, Pool

P = ParamSpec("P")
T = TypeVar("T")


class ForkExecutor(Executor):
    """Runs calls in a pool, in their order, as many at once as it has workers.

    Nothing moves but in a call of one of the executor's methods or of its futures': result(),
    exception(), done() and running() look after the whole pool, and so do map(), shutdown() and the
    as_completed() of this package. The wait() and as_completed() of `concurrent.futures`, and
    asyncio, only sleep until somebody else has done it, which is never.

    A call that raised raises the same exception from result(), with a TaskRaised as its cause,
    which shows the traceback in the worker; where that exception cannot be pickled, the TaskRaised
    itself is raised. It is used in one thread, and the pool is its own from here on.

    Args:
        pool: is started, and shut down in the end.
        time_limit: for each call, in seconds, as in the pool's submit().
        soft_time_limit: likewise.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
    ) -> None:
        self._pool = pool
        self._limits = {"time_limit": time_limit, "soft_time_limit": soft_time_limit}
        self._waiting: deque[_Call] = deque()
        self._running: dict[int, PoolFuture[Any]] = {}  # by the number of the task
        self._ends: deque[Ended] = deque()
        self._closed = False
        self._broken: StartFailed | None = None
        pool.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._broken:
            raise self._broken
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: PoolFuture[T] = PoolFuture(self)
        function = partial(fn, **kwargs) if kwargs else fn
        self._waiting.append(_Call(future, function, args))
        self._turn(0)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the pool once those that were taken have ended.

        Without `wait` that is when somebody has asked for the last result; a program that ends
        earlier takes the pool with it. An exception that interrupts the waiting, like a
        KeyboardInterrupt, kills the pool, and what was not begun is cancelled.
        """
        self._closed = True
        if cancel_futures:
            self._cancel_waiting()
        try:
            self.drive(lambda: not self._is_busy, None if wait else 0)
        except BaseException:
            self._cancel_waiting()
            self._settle(self._pool.kill())
            self._abandon()
            raise
        self._end_if_done()

    def drive(self, finished: Callable[[], bool], timeout: float | None = None) -> bool:
        """Look after the pool until something is so, the timeout is over, or all calls have ended.

        Returns:
            whether it is so.
        """
        deadline = deadline_in(timeout)
        while not finished() and self._is_busy:
            self._turn(left(deadline))
            if left(deadline) == 0:
                break
        return finished()

    def _turn(self, timeout: float | None) -> None:
        """Hand out what can be, wait for an end or an idle worker, and tell the futures."""
        self._hand_out()
        self._settle([] if self._ends else self._wait(timeout))
        self._hand_out()
        self._end_if_done()

    def _wait(self, timeout: float | None) -> list[Ended]:
        try:
            return self._pool.wait(timeout)
        except StartFailed as error:
            self._break(error)
            return []

    @property
    def _is_busy(self) -> bool:
        return bool(self._waiting or self._running)

    def _hand_out(self) -> None:
        while self._waiting and self._pool.room:
            call = self._waiting.popleft()
            if call.future.cancelled():
                call.future.set_running_or_notify_cancel()
                continue
            try:
                task = self._pool.submit(call.function, *call.args, **self._limits)
            except PoolBusy:  # its pipe is full
                self._waiting.appendleft(call)
                return
            except NotPicklable as error:
                call.future.set_exception(error)
            else:
                call.future.set_running_or_notify_cancel()
                self._running[task.number] = call.future

    def _settle(self, ended: Iterable[Ended]) -> None:
        """Tell the futures; one's callback may come back here, and goes on with the others'."""
        self._ends.extend(ended)
        while self._ends:
            end = self._ends.popleft()
            future = self._running.pop(end.task.number)
            if end.error is None:
                future.set_result(end.value)
            else:
                future.set_exception(_exception(end.error))

    def _cancel_waiting(self) -> None:
        while self._waiting:
            future = self._waiting.popleft().future
            future.cancel()
            future.set_running_or_notify_cancel()

    def _abandon(self) -> None:
        """What was submitted and not begun never will be."""
        while self._running:
            self._running.popitem()[1].set_exception(CancelledError())

    def _break(self, error: StartFailed) -> None:
        """Go on with the running calls only."""
        self._closed = True
        self._broken = error
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.cancelled():
                call.future.set_exception(error)

    def _end_if_done(self) -> None:
        if self._closed and not self._is_busy:
            self._pool.shutdown()


class PoolFuture(Future[T]):
    """What a call will have led to. To ask is to drive the executor."""

    def __init__(self, executor: ForkExecutor) -> None:
        super().__init__()
        self.executor = executor

    def result(self, timeout: float | None = None) -> T:
        self.executor.drive(super().done, timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.executor.drive(super().done, timeout)
        return super().exception(0)

    def done(self) -> bool:
        return self.executor.drive(super().done, 0)

    def running(self) -> bool:
        self.executor.drive(super().done, 0)
        return super().running()


class _Call(NamedTuple):
    future: PoolFuture[Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]


def as_completed(futures: Iterable[Future[T]], timeout: float | None = None) -> Iterator[Future[T]]:
    """Futures of one ForkExecutor, each as soon as it has ended or is cancelled.

    Raises:
        TimeoutError: not all of them have in so many seconds.
    """
    deadline = deadline_in(timeout)
    waiting = list(dict.fromkeys(futures))
    if not waiting:
        return
    executor = _executor_of(waiting)
    finished: deque[Future[T]] = deque()
    for future in waiting:
        future.add_done_callback(finished.append)
    for number in range(len(waiting)):
        if not (finished or executor.drive(lambda: bool(finished), left(deadline))):
            raise TimeoutError(f"{len(waiting) - number} of {len(waiting)} futures have not ended")
        yield finished.popleft()


def _executor_of(futures: list[Future[T]]) -> ForkExecutor:
    executors = {getattr(future, "executor", None) for future in futures}
    if len(executors) == 1 and isinstance(executor := executors.pop(), ForkExecutor):
        return executor
    raise ValueError("as_completed() takes the futures of one ForkExecutor")


def _exception(error: PoolError) -> BaseException:
    """What result() raises."""
    if not isinstance(error, TaskRaised):
        return error
    error.add_note(error.traceback)
    if error.original is None:
        return error
    error.original.__cause__ = error
    return error.original
