"""The suite's application."""

from __future__ import annotations

import os
from typing import Any

from django.apps import AppConfig
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class SuiteConfig(AppConfig):
    name = "suite"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        connection_created.connect(set_journal, dispatch_uid="suite")


def set_journal(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """SQLite's journal mode: the one that the queue recommends (Django 4.2 has no option for it),
    unless a test wants SQLite's own default."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA journal_mode={os.environ.get('SQLITE_JOURNAL', 'WAL')}")
