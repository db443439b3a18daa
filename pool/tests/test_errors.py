"""Errors: their words, their tree, their way through pickle; and what the package exports."""

import pickle
import signal

import pytest

import forkpool
from forkpool import (
    ForkUnavailable,
    NotRunning,
    PoolError,
    TaskInterrupted,
    TaskRaised,
    TaskTimeout,
    TimeLimitExceeded,
    WorkerDied,
    WorkerInterrupted,
    errors,
)


def test_the_docstring_is_the_default_message() -> None:
    assert str(NotRunning()) == NotRunning.__doc__
    assert str(ForkUnavailable("not here")) == "not here"


def test_each_error_stands_in_the_tree() -> None:
    kinds = [kind for kind in vars(errors).values() if hasattr(kind, "__traceback__")]
    assert len(kinds) == 13
    for kind in kinds:
        assert issubclass(kind, PoolError) is (kind not in (TaskInterrupted, TaskTimeout))
        assert kind.__name__ in (errors.__doc__ or "")


def test_an_interrupt_is_no_exception_that_a_task_would_swallow() -> None:
    assert not issubclass(TaskInterrupted, Exception)
    assert str(TaskInterrupted()) == "the task was interrupted"


def test_a_timeout_is_no_exception_that_a_task_would_swallow() -> None:
    assert not issubclass(TaskTimeout, Exception)
    assert TaskTimeout(1.5).limit == 1.5
    assert str(TaskTimeout(1.5)) == "the task took longer than its soft time limit of 1.5 s"


@pytest.mark.parametrize(
    "error",
    [
        WorkerDied(4711, -9, {"session": 1}),
        TimeLimitExceeded(4711, -15, 2.5, note="session 1"),
        WorkerInterrupted(4711, -15, "a note"),
        TaskRaised("E()", "trace", None),
        TaskInterrupted(),
        TaskTimeout(0.5),
        NotRunning(),
    ],
)
def test_errors_survive_pickling(error: BaseException) -> None:
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


def test_the_end_at_a_time_limit_in_words() -> None:
    error = TimeLimitExceeded(4711, -signal.SIGKILL, 60)
    words = "worker 4711 was killed by SIGKILL, at the task's time limit of 60 s"
    assert (str(error), error.limit, error.note) == (words, 60, None)


def test_the_end_after_an_interrupt_in_words() -> None:
    words = "worker 4711 was killed by SIGTERM, since the task went on after it was interrupted"
    assert str(WorkerInterrupted(4711, -signal.SIGTERM)) == words


def test_the_exported_names() -> None:
    assert forkpool.__all__ == [
        "Ended",
        "ForkExecutor",
        "ForkPool",
        "ForkUnavailable",
        "InlinePool",
        "NeverUnderWay",
        "NotPicklable",
        "NotRunning",
        "Pool",
        "PoolBusy",
        "PoolError",
        "Running",
        "StartFailed",
        "StopSignals",
        "Task",
        "TaskInterrupted",
        "TaskRaised",
        "TaskTimeout",
        "TimeLimitExceeded",
        "WorkerDied",
        "WorkerInterrupted",
        "as_completed",
        "explain_memory_error",
        "interruptible",
        "reap_strays",
        "retire",
        "show",
        "soft_time_limit",
        "tell_parent",
        "under_way",
        "was_interrupted",
    ]
    assert all(hasattr(forkpool, name) for name in forkpool.__all__)
