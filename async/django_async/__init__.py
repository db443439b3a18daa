"""django-async: a job queue in the database, whose transactions are exactly right.

``from django_async import schedule`` is all that most applications need; the other verbs are in
:mod:`django_async.api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_async.api import schedule
    from django_async.current import current_job

__version__ = "1.0.0.dev0"
__all__ = ["__version__", "current_job", "schedule"]


def __getattr__(name: str) -> Any:
    """Load a name at its first use: models need Django's apps to be ready."""
    if name == "schedule":
        from django_async.api import schedule

        return schedule
    if name == "current_job":
        from django_async.current import current_job

        return current_job
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
