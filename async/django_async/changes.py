"""Noticing what others commit on SQLite, which wakes nobody.

The file has a version, which changes with each commit of another session, and which can be asked
for at a hundredth of the price of a look for jobs. So a service that is idle asks for it while it
waits, and looks for jobs when something was committed, whatever it was.
"""

from __future__ import annotations

from typing import Any

from django.db import connections


class Changes:
    """What was committed by other sessions than the parent's own.

    Attributes:
        interval: seconds between two questions.
    """

    def __init__(self, using: str, interval: float) -> None:
        self.interval = interval
        self._connection = connections[using]
        self._session: Any = None
        """The one whose version is known; another one's says nothing about it."""
        self._version: int | None = None

    def are_new(self) -> bool:
        """Whether there may be some since this was last asked."""
        session: Any = self._connection.connection
        with self._connection.wrap_database_errors:
            [version] = session.execute("PRAGMA data_version").fetchone()
        is_same = session is self._session and version == self._version
        self._session, self._version = session, version
        return not is_same
