"""Forked workers for one-at-a-time calls: who runs what, and how each call ended."""

from forkpool.errors import (
    ForkUnavailable,
    NotPicklable,
    NotRunning,
    PoolBusy,
    PoolError,
    StartFailed,
    TaskRaised,
    TaskTimeout,
    TimeLimitExceeded,
    WorkerDied,
)
from forkpool.executor import ForkExecutor, as_completed
from forkpool.inline import InlinePool
from forkpool.interface import Ended, Pool, Task
from forkpool.limits import soft_time_limit
from forkpool.memory import explain_memory_error
from forkpool.notes import tell_parent
from forkpool.pool import ForkPool
from forkpool.signals import StopSignals

__all__ = [
    "Ended",
    "ForkExecutor",
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
    "TaskTimeout",
    "TimeLimitExceeded",
    "WorkerDied",
    "as_completed",
    "explain_memory_error",
    "soft_time_limit",
    "tell_parent",
]
