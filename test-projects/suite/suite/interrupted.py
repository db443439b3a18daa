"""Jobs that end as if their parent had interrupted them, after an effect that must go."""

from __future__ import annotations

from typing import NoReturn

from forkpool import TaskInterrupted, interrupts
from forkpool.board import Slot
from suite.abuse import effects, lose_session
from suite.jobs import note


def be_interrupted() -> NoReturn:
    """What the pool does when a parent has asked for it, in any thread and without the signal."""
    slot, region = Slot(), interrupts._Region()
    interrupts.begin(slot, 1)
    slot.wanted = 1
    error = region.blow()
    assert error
    region.struck()
    raise error


def interrupt() -> None:
    effects()
    be_interrupted()


def fail_of_interruption() -> None:
    effects()
    try:
        be_interrupted()
    finally:
        raise ValueError("the clean-up fails")


def swallow() -> None:
    try:
        be_interrupted()
    except TaskInterrupted:
        pass


def swallow_and_fail() -> None:
    swallow()
    raise ValueError("something else")


def lose_session_and_interrupt() -> None:
    lose_session()
    be_interrupted()


def note_and_interrupt() -> None:
    note("before the interrupt")
    be_interrupted()


# Nobody has asked for the end of these.


def raise_it_oneself() -> None:
    effects()
    raise TaskInterrupted


def fail_of_ones_own() -> None:
    effects()
    try:
        raise TaskInterrupted
    except TaskInterrupted as error:
        raise ValueError("of its own") from error
