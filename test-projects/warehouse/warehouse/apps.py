"""The warehouse as a Django app, and what its SQLite file needs."""

from typing import Any

from django.apps import AppConfig
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class WarehouseConfig(AppConfig):
    """Orders, stock, shipments and a ledger."""

    name = "warehouse"
    verbose_name = "Warehouse"

    def ready(self) -> None:
        """Set up each new connection."""
        connection_created.connect(write_ahead, dispatch_uid="warehouse.write_ahead")


def write_ahead(*, connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Let readers read while a job writes, and spare a disk flush for each commit.

    From Django 5.1 on `OPTIONS["init_command"]` does the same; 4.2 has only this signal.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
