"""The child's whole life: begin, initialise, then receive, run and report until it is told to go.

It sends to the parent, pickled: ``("ready",)`` or ``("failed", text)`` once; then for each task
``("returned", value)`` or ``("raised", repr, traceback, pickled exception or None)``. From the
parent it receives ``(function, args)``, and an empty message to go.
"""

import ctypes
import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from forkpool.channel import Channel, dumps, loads

GO = b""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Birth:
    """What a child gets from its parent.

    Attributes:
        parent: the parent's process id.
        inherited: closes one of the parent's descriptors each: the child has copies of them all.
        initializer: called before the first task.
        collects: whether the garbage collector is to be on.
    """

    channel: Channel
    parent: int
    inherited: Iterable[Callable[[], None]]
    initializer: Callable[[], object] | None
    collects: bool


def live(birth: Birth) -> None:
    """Be a worker. To return from here is to exit, the ordinary way of a Process."""
    begin(birth)
    initialise(birth)
    birth.channel.send(dumps(("ready",)))
    work(birth.channel)


def begin(birth: Birth) -> None:
    """Stop being a copy of the parent."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C then reaches the parent only
    tie_to(birth.parent)
    # What exists now is the parent's: it is neither scanned, which would copy its pages, nor
    # collected here, where the end of a database connection would be sent to the parent's server.
    gc.freeze()
    if birth.collects:
        gc.enable()
    for close in birth.inherited:
        close()
    reset_signals()
    reseed()


def tie_to(parent: int) -> None:
    """Die with the parent. Where the kernel cannot do that, the end of the channel tells it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        raise SystemExit(1)


def reset_signals() -> None:
    """Drop the parent's handlers, and receive signals again: the parent forks with all blocked."""
    signal.set_wakeup_fd(-1)
    for signum in signal.valid_signals():
        if callable(signal.getsignal(signum)):
            signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def reseed() -> None:
    """Draw other random numbers than the siblings. Python's own generator does it by itself."""
    if numbers := sys.modules.get("numpy.random"):
        numbers.seed()


def initialise(birth: Birth) -> None:
    """Call the initializer; if it raises, tell the parent why, and exit."""
    try:
        if birth.initializer:
            birth.initializer()
    except BaseException as error:
        birth.channel.send(dumps(("failed", format_error(error))))
        raise SystemExit(1) from error


def work(channel: Channel) -> None:
    """Receive, run, report."""
    me = os.getpid()
    try:
        while (message := channel.receive()) != GO:
            report = run(message)
            if os.getpid() != me:  # the task forked, and this is the copy that came back from it
                os._exit(1)
            channel.send(report)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone


def run(message: bytes) -> bytes:
    """Run a task, and pickle how it ended."""
    try:
        function, args = loads(message)
        return dumps(("returned", function(*args)))
    except BaseException as error:  # noqa: BLE001 - whatever a task raises is its own failure
        return dumps(("raised", describe(error), format_error(error), pickled(error)))


def describe(error: BaseException) -> str:
    """``repr(error)``, also of an exception that cannot even say that."""
    try:
        return repr(error)
    except BaseException:  # noqa: BLE001 - it is code of the task's author
        return f"<{type(error).__qualname__}, whose repr() raises>"


def format_error(error: BaseException) -> str:
    """The traceback as text, without the frame in here."""
    trace = error.__traceback__ and error.__traceback__.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def pickled(error: BaseException) -> bytes | None:
    """The exception itself, if it survives the way through pickle."""
    try:
        data = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        pickle.loads(data)  # noqa: S301 - our own, of this moment
    except Exception:  # noqa: BLE001 - the exception's own code, once more
        return None
    return data


def unpickled(data: bytes | None) -> Any:
    """The exception of pickled(), in the parent; None if it cannot be rebuilt there."""
    try:
        return data and pickle.loads(data)  # noqa: S301 - from a child of ours
    except Exception:  # noqa: BLE001 - its text and traceback are there all the same
        return None
