"""Forked workers for one-at-a-time calls: who runs what, and how each call ended."""

from forkpool.errors import (
    ForkUnavailable,
    NotPicklable,
    NotRunning,
    PoolBusy,
    PoolError,
    StartFailed,
    TaskRaised,
    WorkerDied,
)
from forkpool.inline import InlinePool
from forkpool.interface import Ended, Pool, Task
from forkpool.pool import ForkPool
from forkpool.signals import StopSignals

__all__ = [
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
