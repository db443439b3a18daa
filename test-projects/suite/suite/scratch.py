"""Databases of a test's own, and those that django-async 0.7.3 left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

DUMPS = Path(__file__).parents[3] / "async" / "tests" / "legacy"


@contextmanager
def scratch_database(folder: Path, purpose: str = "scratch") -> Iterator[str]:
    """Within the block, there is an empty database of this name, which is dropped at the end."""
    name = _name(folder, purpose)
    _drop(name)
    _create(name)
    try:
        yield name
    finally:
        _drop(name)


@contextmanager
def used_by_default(name: str) -> Iterator[None]:
    """Within the block, the default database is the one of this name."""
    usual = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = usual


def load_legacy_dump() -> None:
    """Fill the empty database with what 0.7.3 left."""
    text = (DUMPS / f"{connection.vendor}.sql").read_text(encoding="utf-8")
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        connection.connection.executescript(text)
        return
    with connection.cursor() as cursor:
        for statement in text.split(";\n") if connection.vendor == "mysql" else [text]:
            if statement.strip():
                cursor.execute(statement)


def migrate(*target: str) -> None:
    """Migrate the default database: all of it, or ``async`` to a migration of this name."""
    call_command("migrate", *target, verbosity=0, interactive=False, run_syncdb=not target)


def applied() -> list[str]:
    """The migrations of the queue that the database has."""
    found = MigrationRecorder(connection).applied_migrations()
    return sorted(name for app, name in found if app == "async")


def schema() -> dict[str, Any]:
    """The queue's tables as the database describes them: columns, indexes and constraints."""
    with connection.cursor() as cursor:
        return {
            model._meta.db_table: {
                "columns": _columns(cursor, model._meta.db_table),
                "constraints": _constraints(cursor, model._meta.db_table),
            }
            for model in apps.get_app_config("async").get_models()
            if model._meta.db_table in connection.introspection.table_names(cursor)
        }


def _columns(cursor: Any, table: str) -> dict[str, tuple[Any, ...]]:
    found = connection.introspection.get_table_description(cursor, table)
    return {row.name: (_kind(row), _size(row), bool(row.null_ok)) for row in found}


def _kind(column: Any) -> str:
    kind = str(connection.introspection.get_field_type(column.type_code, column))
    # All integers of SQLite have 64 bits, whatever the column says.
    return kind.replace("Big", "") if connection.vendor == "sqlite" else kind


def _size(column: Any) -> Any:
    """MySQL's display size is the length of what the first row happens to hold."""
    return column.internal_size if connection.vendor == "mysql" else column.display_size


def _constraints(cursor: Any, table: str) -> set[tuple[Any, ...]]:
    """Each as what it does on which columns, for the names differ between versions of Django."""
    found: dict[str, Any] = {**connection.introspection.get_constraints(cursor, table)}
    traits = ("primary_key", "unique", "index", "check", "foreign_key")
    return {
        (tuple(one["columns"] or ()), trait, one[trait])
        for one in found.values()
        for trait in traits
        if one[trait]
    }


def _name(folder: Path, purpose: str) -> str:
    if connection.vendor == "sqlite":
        return str(folder / f"{purpose}.sqlite3")
    return f"{connection.settings_dict['TEST']['NAME']}_{purpose}"


def _create(name: str) -> None:
    if connection.vendor == "postgresql":
        _on_server(f'CREATE DATABASE "{name}"')
    elif connection.vendor == "mysql":
        _on_server(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")


def _drop(name: str) -> None:
    if connection.vendor == "postgresql":
        _on_server(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    elif connection.vendor == "mysql":
        _on_server(f"DROP DATABASE IF EXISTS `{name}`")
    else:
        for suffix in ("", "-wal", "-shm"):
            Path(name + suffix).unlink(missing_ok=True)


def _on_server(statement: str) -> None:
    with connection._nodb_cursor() as cursor:
        cursor.execute(statement)
