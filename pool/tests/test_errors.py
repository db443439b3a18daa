"""Errors: their words, their tree, their way through pickle; and what the package exports."""

import pickle
import signal

import pytest

import forkpool
from forkpool import ForkUnavailable, NotRunning, PoolError, TaskRaised, WorkerDied, errors


def test_the_docstring_is_the_default_message() -> None:
    assert str(NotRunning()) == NotRunning.__doc__
    assert str(ForkUnavailable("not here")) == "not here"


def test_each_error_stands_in_the_tree() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) == 8
    for kind in kinds:
        assert issubclass(kind, PoolError)
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "error", [WorkerDied(4711, -9), TaskRaised("E()", "trace", None), NotRunning()]
)
def test_errors_survive_pickling(error: PoolError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [
        (-signal.SIGSEGV, "worker 4711 was killed by SIGSEGV"),
        (-(signal.SIGRTMIN + 1), f"worker 4711 was killed by signal {signal.SIGRTMIN + 1}"),
        (3, "worker 4711 exited with code 3 while it held a task"),
        (None, "worker 4711 ended, nobody knows how, while it held a task"),
    ],
)
def test_a_death_in_words(exitcode: int | None, words: str) -> None:
    assert str(WorkerDied(4711, exitcode)) == words


def test_the_exported_names() -> None:
    assert forkpool.__all__ == [
        "Ended",
        "ForkPool",
        "ForkUnavailable",
        "InlinePool",
        "NotPicklable",
        "NotRunning",
        "Pool",
        "PoolBusy",
        "PoolError",
        "StartFailed",
        "StopSignals",
        "Task",
        "TaskRaised",
        "WorkerDied",
    ]
    assert all(hasattr(forkpool, name) for name in forkpool.__all__)
