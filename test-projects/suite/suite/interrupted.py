"""Jobs that end as if their parent had interrupted them, after an effect that must go."""

from __future__ import annotations

from forkpool import TaskInterrupted
from suite.abuse import effects, lose_session
from suite.jobs import note


def interrupt() -> None:
    effects()
    raise TaskInterrupted


def fail_of_interruption() -> None:
    effects()
    try:
        raise TaskInterrupted
    finally:
        raise ValueError("the clean-up fails")


def swallow() -> None:
    try:
        raise TaskInterrupted
    except TaskInterrupted:
        pass


def swallow_and_fail() -> None:
    swallow()
    raise ValueError("something else")


def lose_session_and_interrupt() -> None:
    lose_session()
    raise TaskInterrupted


def note_and_interrupt() -> None:
    note("before the interrupt")
    raise TaskInterrupted
