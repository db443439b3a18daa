"""Running a coroutine to its end, for a job that is ``async def``.

asgiref runs its event loop in a thread, so that what it calls with ``sync_to_async``, as Django's
asynchronous ORM does, is called in this one, on the job's own connection and in its transaction.
Limits and interrupts strike in this thread as well: within a call from the coroutine, to which they
are raised there; or while this thread waits for such calls, and then they have to cancel the
coroutine, and this thread has to go on serving it until it has ended. So there are two waits, one
within the other, and only the inner one can be struck::

    this thread   async_to_sync(look after) ── drive ── async_to_sync(wait) ── struck ──┐
    the loop                         └── the job ── cancelled ◀── look after ◀──────────┘
    this thread                          goes on in the outer wait, and serves the job's end
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

from asgiref.sync import AsyncToSync, async_to_sync, sync_to_async

from django_async.errors import chain
from forkpool import interruptible, soft_time_limit

Job = Coroutine[Any, Any, Any]

End = tuple[Any, BaseException | None]
"""What a coroutine returned, or what it raised: to raise that in the loop could end the loop."""


def run(coroutine: Job, timeout: float | None) -> Any:
    """Run the coroutine within its limit of time, and return its result or raise what it raises.

    The limit, or an interrupt, ends it: it is cancelled, and its end is awaited. No loop and no
    thread is left behind, nor a task that it did not await.
    """
    try:
        result, error = async_to_sync(_look_after)(coroutine, timeout)
    finally:
        coroutine.close()
    if error is not None:
        _let_go(error)
        raise error
    return result


async def _look_after(coroutine: Job, timeout: float | None) -> End:
    """In the loop: have the job's thread drive the coroutine, and see to its end."""
    care = _Care(coroutine)
    try:
        end: End = await sync_to_async(_drive)(care, timeout)
    except BaseException as error:  # noqa: BLE001 - a strike: whatever was raised in that thread
        error.__cause__ = await care.cancel()
        return None, error
    return end


def _drive(care: _Care, timeout: float | None) -> End:
    """In the job's thread: serve the coroutine until it has ended, or until a strike."""
    with interruptible(), soft_time_limit(timeout):
        return async_to_sync(care.wait)()


def _let_go(error: BaseException) -> None:
    """Have asgiref's thread end now. It ends with the executor that a finished frame of this thread
    holds, and the error's traceback leads back to that frame."""
    for frame in _frames(error):
        if frame.f_code is AsyncToSync.__call__.__code__:
            with suppress(RuntimeError):  # one that has not finished: an asynchronous job's own
                frame.clear()


def _frames(error: BaseException | None) -> Iterator[FrameType]:
    for link in chain(error):
        for innermost, _ in traceback.walk_tb(link.__traceback__):
            frame: FrameType | None = innermost
            while frame is not None:
                yield frame
                frame = frame.f_back


class _Care:
    """A coroutine, and the task that it becomes."""

    def __init__(self, coroutine: Job) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[End] | None = None
        self._struck = asyncio.get_running_loop().create_future()

    async def wait(self) -> End:
        """Run the coroutine until its end, or until it is to be cancelled. To return from here ends
        the inner wait: calls from the coroutine go to the outer one after that."""
        if self._struck.done():  # before it has begun
            return None, None
        self._task = asyncio.create_task(self._run())
        await asyncio.wait([self._task, self._struck], return_when=asyncio.FIRST_COMPLETED)
        return self._task.result() if self._task.done() else (None, None)

    async def cancel(self) -> BaseException | None:
        """End the coroutine, and return what it raised at that, which says where it was."""
        self._struck.set_result(None)
        await asyncio.sleep(0)
        if self._task is None:
            return None
        self._task.cancel()
        await asyncio.wait([self._task])
        return None if self._task.cancelled() else self._task.result()[1]

    async def _run(self) -> End:
        try:
            return await self._coroutine, None
        except BaseException as error:  # noqa: BLE001 - whatever a job can raise
            return None, error
