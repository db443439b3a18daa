"""The fault suite's application."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class FaultsConfig(AppConfig):
    name = "faults"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from faults import injection

        connection_created.connect(journal_ahead, dispatch_uid="faults")
        injection.install()


def journal_ahead(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """SQLite's journal mode that the queue recommends (Django 4.2 has no option for it)."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode=WAL")
