"""The queue's pages in Django's admin, which imports this package and so registers them."""

from __future__ import annotations

from django_async.admin.errors import ErrorAdmin
from django_async.admin.groups import GroupAdmin
from django_async.admin.jobs import JobAdmin

__all__ = ["ErrorAdmin", "GroupAdmin", "JobAdmin"]
