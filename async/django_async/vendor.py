"""What a migration does differently on each kind of database, as one operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.apps.registry import Apps
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


class RunVendorSQL(Operation):
    """Run the statements written for the connection's vendor; models and their state stay.

    ``forwards`` and ``backwards`` map a vendor (``postgresql``, ``mysql``, ``sqlite``) to
    statements.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(
        self, forwards: Mapping[str, Sequence[str]], backwards: Mapping[str, Sequence[str]]
    ) -> None:
        self.forwards = forwards
        self.backwards = backwards

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """The models do not know of what is made here."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._run(schema_editor, app_label, from_state.apps, self.forwards)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._run(schema_editor, app_label, from_state.apps, self.backwards)

    def describe(self) -> str:
        return "Run SQL that differs by database vendor"

    def _run(
        self,
        schema_editor: BaseDatabaseSchemaEditor,
        app_label: str,
        apps: Apps,
        statements: Mapping[str, Sequence[str]],
    ) -> None:
        connection = schema_editor.connection
        job = apps.get_model(app_label, "Job")
        if self.allow_migrate_model(connection.alias, job):
            for statement in statements.get(connection.vendor, ()):
                schema_editor.execute(statement)
