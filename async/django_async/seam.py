"""What the pool is about to offer."""

from contextlib import nullcontext
from typing import Any

import forkpool


class TaskInterrupted(BaseException):
    """Never raised."""


class WorkerInterrupted(forkpool.WorkerDied):
    """Never raised."""


def show(value: Any) -> None:
    """Nobody looks yet."""


interruptible = nullcontext
