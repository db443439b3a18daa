"""What a child wants its parent to know, beside the ends of tasks."""

import os

from forkpool.channel import Channel, dumps
from forkpool.signals import blocked

_retiring: set[int] = set()  # the process id of a child that wants to be replaced: at most one
_lines: list[tuple[int, Channel]] = []  # the process id of a child, and its channel: at most one


def connect(channel: Channel) -> None:
    """From now on this process tells its parent."""
    _lines[:] = [(os.getpid(), channel)]
    _retiring.clear()


def tell_parent(note: object) -> None:
    """Send the parent a note; its latest one stands in the WorkerDied that this child may become.

    In a task, in its threads or in the initializer. In any other process it does nothing, also in
    one that a task has forked. It waits as long as the parent takes nothing in.

    Raises:
        NotPicklable: the note cannot be sent.
    """
    for pid, channel in _lines:
        if pid == os.getpid():
            _send(channel, dumps(("note", dumps(note))))


def retire() -> None:
    """In a task: have this process replaced after the task, whose end counts as ever.

    For who finds that the process is not fit for the tasks that follow. In any other process it
    does nothing, also in one that a task has forked.
    """
    _retiring.update(pid for pid, _ in _lines)


def is_retiring() -> bool:
    """Whether this process is to be replaced."""
    return os.getpid() in _retiring


def _send(channel: Channel, message: bytes) -> None:
    with blocked():
        try:
            channel.send(message)
        except OSError:
            pass  # the parent is gone
        except BaseException:
            channel.close()  # a part of the message may be under way: nothing can follow it
            raise
