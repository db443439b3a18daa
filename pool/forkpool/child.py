"""The child's whole life: begin, initialise, then take, run and report until it is to go.

It sends to the parent, pickled: ``("ready",)`` or ``("failed", text)`` once; then for each task
``("returned", number, pickled value)`` or ``("raised", number, repr, traceback, pickled exception
or None)``, before it ``("worn",)`` if it goes by itself after it; ``("last",)`` when it has taken
the last one that it may; and ``("note", pickled note)`` at any time. It takes none before the
parent has said that there is a place for it, with an empty message. A task is ``(function, args,
soft time limit)``, and is taken from the tray; one that is too long for that is sent when it is
asked for with ``("want",)``. What goes on beside the messages is in its slot.
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
from functools import partial
from typing import Any

from forkpool import blocks, interrupts, limits, notes
from forkpool.board import Slot, put_up
from forkpool.channel import Channel, dumps, loads
from forkpool.errors import NotPicklable, describe
from forkpool.limits import soft_time_limit
from forkpool.memory import explain_memory_error, limit_memory, resident
from forkpool.signals import ALL, StopSignals, handler_of, set_mask
from forkpool.tray import Tray

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Opened here and not in each child."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every child of a pool.

    Attributes:
        initializer: called before the first task.
        memory_limit: of its address space, in bytes.
        max_memory: resident bytes, above which it goes.
        max_tasks: after so many it goes.
    """

    initializer: Callable[[], object] | None = None
    memory_limit: int | None = None
    max_memory: int | None = None
    max_tasks: int | None = None


@dataclass(frozen=True, slots=True)
class Birth:
    """What a child gets from its parent.

    Attributes:
        tray: the tasks.
        slot: memory that it shares with the parent.
        parent: the parent's process id.
        inherited: closes the parent's descriptors: the child has copies of them all.
        collects: whether the garbage collector is to be on.
    """

    channel: Channel
    tray: Tray
    slot: Slot
    parent: int
    inherited: Iterable[Callable[[], None]]
    terms: Terms
    collects: bool


def live(birth: Birth) -> None:
    """Be a worker. To return from here is to exit, the ordinary way of a Process."""
    begin(birth)
    initialise(birth.channel, birth.terms)
    birth.channel.send(dumps(("ready",)))
    work(birth.channel, birth.tray, birth.slot, birth.terms)


def begin(birth: Birth) -> None:
    """Stop being a copy of the parent."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C then reaches the parent only
    tie_to(birth.parent)
    # What exists now is the parent's: it is neither scanned, which would copy its pages, nor
    # collected here, where the end of a database connection would be sent to the parent's server.
    gc.freeze()
    if birth.collects:
        gc.enable()
    for close in [*birth.inherited, StopSignals.close_all]:
        close()
    blocks.forget()
    limits.forget()
    reset_signals()
    interrupts.receive()
    reseed()
    notes.connect(birth.channel)


def tie_to(parent: int) -> None:
    """Die with the parent. Where the kernel cannot do that, the end of the channel tells it."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        raise SystemExit(1)


def reset_signals() -> None:
    """Drop the parent's handlers, and receive signals again: the parent forks with all blocked."""
    signal.set_wakeup_fd(-1)
    for signum in ALL:
        if callable(handler_of(signum)):
            signal.signal(signum, signal.SIG_DFL)
    for name in ("SIGINT", "SIGHUP"):  # a terminal's or a group's: what ends the parent ends us
        if signum := getattr(signal, name, None):
            signal.signal(signum, signal.SIG_IGN)
    for signum in (signal.SIGTERM, signal.SIGCHLD):  # even if the parent ignores them
        signal.signal(signum, signal.SIG_DFL)
    set_mask(signal.SIG_SETMASK, ())


def reseed() -> None:
    """Draw other random numbers than the siblings. Python's own generator does it by itself."""
    if numbers := sys.modules.get("numpy.random"):
        numbers.seed()


def initialise(channel: Channel, terms: Terms) -> None:
    """Get ready for tasks; if that raises, tell the parent why, and exit."""
    try:
        if terms.memory_limit is not None:
            limit_memory(terms.memory_limit)
        if terms.initializer:
            terms.initializer()
    except BaseException as error:
        explain_memory_error(error)
        channel.send(dumps(("failed", format_error(error))))
        raise SystemExit(1) from error


def work(channel: Channel, tray: Tray, slot: Slot, terms: Terms) -> None:
    """Take, run, report."""
    me, finished, is_worn = os.getpid(), 0, False
    try:
        channel.receive()  # that there is a place for it
        while not (is_worn or slot.leaves) and (taken := tray.take(slot)):
            number, message = taken
            slot.begin(number)
            if finished + 1 == terms.max_tasks:
                channel.send(dumps(("last",)))
            if message is None:
                channel.send(dumps(("want",)))
                message = channel.receive()
            report = run(number, message, slot)
            if os.getpid() != me:  # the task forked, and this is the copy that came back from it
                os._exit(1)
            slot.ended = number  # before the look at `leaves`: see Worker
            finished += 1
            is_worn = (
                finished == terms.max_tasks
                or notes.is_retiring()
                or is_too_large(report, terms.max_memory)
            )
            if is_worn:
                channel.send(dumps(("worn",)))
            channel.send(report)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
    except OSError:
        # A task has closed the channel. The parent need not see that, as what the task has left
        # behind may hold it open: it must see the death, which a thread would put off.
        try:
            traceback.print_exc()
        finally:
            os._exit(1)


def is_too_large(report: bytes, max_memory: int | None) -> bool:
    """Whether the process occupies more than it may, beside what it is about to report."""
    return max_memory is not None and resident() - len(report) > max_memory


def run(number: int, message: bytes, slot: Slot) -> bytes:
    """Run a task, and pickle how it ended."""
    try:
        try:
            function, args, limit = loads(message)
            begin_task(slot, number)
            with soft_time_limit(limit):
                value = function(*args)
        finally:
            end_task()
        return dumps(("returned", number, dumps(value)))
    except BaseException as error:  # noqa: BLE001 - whatever a task raises is its own failure
        explain_memory_error(error)
        return dumps(("raised", number, describe(error), format_error(error), pickled(error)))


def begin_task(slot: Slot, number: int) -> None:
    """Let it show things, and be interrupted."""
    put_up(partial(slot.write, number))
    interrupts.begin(slot, number)


def end_task() -> None:
    """Take back whatever it may have left."""
    blocks.disarm()
    interrupts.end()
    put_up()


def format_error(error: BaseException) -> str:
    """The traceback as text, without the frame in here."""
    trace = error.__traceback__ and error.__traceback__.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def pickled(error: BaseException) -> bytes | None:
    """The exception itself, if it survives the way through pickle."""
    try:
        data = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        pickle.loads(data)  # noqa: S301 - our own, of this moment
    except BaseException:  # noqa: BLE001 - the exception's own code, once more
        return None
    return data


def unpickled(data: bytes | None) -> Any:
    """The exception of pickled(), in the parent; None if it cannot be rebuilt there."""
    try:
        return data and loads(data)
    except NotPicklable:  # its text and traceback are there all the same
        return None
