"""0.7.3's helper for tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django_async.models import Job

P = ParamSpec("P")
R = TypeVar("R")


def clear_queue(func: Callable[P, R]) -> Callable[P, R]:
    """Delete all jobs before each call of the decorated function."""

    @wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        Job.objects.all().delete()
        return func(*args, **kwargs)

    return wrapper
