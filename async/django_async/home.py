"""Which database has the queue, where nobody says."""

from __future__ import annotations

from django.db import router

from django_async.models import Job


def of_queue(using: str | None = None) -> str:
    """The alias that is given, or else the routers' choice for writing jobs: there schedule() puts
    them, so there everybody looks for them."""
    return using or router.db_for_write(Job)
