"""Deadlines on the monotonic clock, which nobody sets."""

import time


def deadline_in(timeout: float | None) -> float | None:
    """When a timeout that begins now is over; None is never."""
    return None if timeout is None else time.monotonic() + timeout


def left(deadline: float | None) -> float | None:
    """Seconds until then; not less than zero."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def earliest(*deadlines: float | None) -> float | None:
    """The one that comes first; None if none of them ever does."""
    return min((deadline for deadline in deadlines if deadline is not None), default=None)
