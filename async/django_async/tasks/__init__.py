"""Django's own task framework, with this queue behind it.

::

    TASKS = {"default": {"BACKEND": "django_async.tasks.AsyncBackend"}}

Every ``@task`` of ``django.tasks`` (before Django 6.0: of ``django_tasks``, the backport) is a job
of the queue then. Nothing here loads models before the first task is enqueued, since decorators run
when modules are imported.
"""

from __future__ import annotations

from django_async.tasks.backend import AsyncBackend
from django_async.tasks.task import AsyncTask, task

__all__ = ["AsyncBackend", "AsyncTask", "task"]
