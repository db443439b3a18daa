"""Forked workers for one-at-a-time calls: who runs what, and how each call ended."""

from forkpool.board import show
from forkpool.errors import (
    ForkUnavailable,
    NeverUnderWay,
    NotPicklable,
    NotRunning,
    PoolBusy,
    PoolError,
    StartFailed,
    TaskInterrupted,
    TaskRaised,
    TaskTimeout,
    TimeLimitExceeded,
    WorkerDied,
    WorkerInterrupted,
)
from forkpool.executor import ForkExecutor, as_completed
from forkpool.inline import InlinePool
from forkpool.interface import Ended, Pool, Running, Task
from forkpool.interrupts import interruptible, under_way, was_interrupted
from forkpool.limits import soft_time_limit
from forkpool.memory import explain_memory_error
from forkpool.notes import retire, tell_parent
from forkpool.pool import ForkPool
from forkpool.signals import StopSignals
from forkpool.strays import reap_strays

__all__ = [
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
