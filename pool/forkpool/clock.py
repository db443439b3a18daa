"""Deadlines on the monotonic clock, which nobody sets."""

import time


def deadline_in(timeout: float | None) -> float | None:
    """When a timeout that begins now is over; None is never."""
    return None if timeout is None else time.monotonic() + timeout


def left(deadline: float | None) -> float | None:
    """Seconds until then; not less than zero."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
