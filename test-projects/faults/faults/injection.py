"""Death at a chosen step of an attempt, in workers only.

Each step has tokens, files in a folder. A worker that reaches a step and gets hold of one of its
tokens is killed there and then; without tokens, nothing happens. The steps are found by wrapping
what the queue, the pool and Django call at them; the product knows nothing of it.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_async import roundtrips, store
from faults.place import FOLDER
from forkpool import channel

STEPS = (
    "before the handshake",
    "half-way through a note",
    "before the claim",
    "after the claim",
    "in the job",
    "before RELEASE",
    "after the mark",
    "after COMMIT",
    "half-way through the report",
    "in a commit hook",
)
"""In the order in which a worker reaches them. Where RELEASE, mark and COMMIT are one message, none
is after the mark and before COMMIT."""

UNDOING = STEPS[1:7]
"""The steps at which a worker holds a job that is not committed yet: its death is the job's."""

MESSAGES = {
    "ready": "before the handshake",
    "note": "half-way through a note",
    "returned": "half-way through the report",
}
"""What a worker says to the parent, and the step at which it does."""

_home = 0
"""The process that installed this: of all that are forked from it, it alone is no worker."""


def arm(step: str, times: int) -> None:
    """Let so many workers die at the step."""
    _tokens(step).mkdir(parents=True, exist_ok=True)
    for number in range(times):
        (_tokens(step) / str(number)).touch()


def disarm() -> None:
    """Take all tokens away."""
    shutil.rmtree(_folder(), ignore_errors=True)


def left(step: str) -> int:
    """How many tokens nobody has taken."""
    return len(list(_tokens(step).iterdir())) if _tokens(step).exists() else 0


def reach(step: str) -> None:
    """Die here if this is a worker, and the step has a token left."""
    if os.getpid() != _home and _take(step):
        _die()


def install() -> None:
    """Wrap the steps, before the first worker is forked."""
    global _home
    _home = os.getpid()
    _wrap(store, "claim", before="before the claim", after="after the claim")
    _wrap(BaseDatabaseWrapper, "_savepoint_commit", before="before RELEASE")
    _wrap(roundtrips.OneByOne, "last", after="after the mark")
    _wrap(roundtrips.Coalesced, "last", before="before RELEASE", after="after COMMIT")
    _wrap_commit()
    _wrap_send()


def _wrap(owner: Any, name: str, *, before: str = "", after: str = "") -> None:
    wrapped: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(wrapped)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        reach(before)
        result = wrapped(*args, **kwargs)
        reach(after)
        return result

    setattr(owner, name, wrapper)


def _wrap_commit() -> None:
    """Of a worker's commits that are messages of their own, those count in which a job was marked
    as executed."""
    owners: tuple[Any, Any] = roundtrips.OneByOne, BaseDatabaseWrapper
    mark, commit = owners[0].last, owners[1]._commit
    marked = False

    @functools.wraps(mark)
    def marking(*args: Any) -> bool:
        nonlocal marked
        marked = bool(mark(*args))
        return marked

    @functools.wraps(commit)
    def committing(self: BaseDatabaseWrapper) -> Any:
        nonlocal marked
        result, after_mark, marked = commit(self), marked, False
        reach("after COMMIT" if after_mark else "")
        return result

    owners[0].last, owners[1]._commit = marking, committing


def _wrap_send() -> None:
    send = channel.Channel.send

    @functools.wraps(send)
    def wrapper(self: channel.Channel, message: bytes) -> None:
        if os.getpid() != _home:
            step = MESSAGES.get(channel.loads(message)[0], "")
            if step.startswith("half-way") and _take(step):
                _send_half(self, message)
                _die()
            reach(step)
        send(self, message)

    channel.Channel.send = wrapper  # type: ignore[method-assign]


def _send_half(end: channel.Channel, message: bytes) -> None:
    whole = len(message).to_bytes(8, "big") + message
    os.write(end.fileno(), whole[: len(whole) // 2])


def _take(step: str) -> bool:
    """Whether a token of the step could be had: to remove a file succeeds for one process."""
    if not step or not _tokens(step).exists():
        return False
    for token in sorted(_tokens(step).iterdir()):
        try:
            token.unlink()
        except FileNotFoundError:
            continue
        return True
    return False


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _folder() -> Path:
    return FOLDER / "tokens"


def _tokens(step: str) -> Path:
    return _folder() / step.replace(" ", "-")
