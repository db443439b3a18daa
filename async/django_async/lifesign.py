"""A file whose age tells whether a service's loop still goes round, for who restarts it if not.

To ask the database takes a process with Django in it, fails when only the database is away, and
tells of a parent whose session lives, also when it hangs. This costs nothing, and tells what a
restart could mend.
"""

from __future__ import annotations

import logging
from pathlib import Path

from django_async.engine import Engine

logger = logging.getLogger(__name__)


class LivenessFile:
    """Touches the file, from when the service is ready until it ends: it is there no longer then.

    Raises OSError if it cannot be.
    """

    INTERVAL = 5.0
    """Seconds between two touches."""

    STARTING = 0.2
    """Seconds between two looks at whether the service is ready."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_ready = False
        self._is_written = True
        path.touch()
        path.unlink()  # also that of one that was killed

    def see_to(self, engine: Engine) -> float:
        self._is_ready = self._is_ready or engine.is_ready
        if not self._is_ready:
            return self.STARTING
        try:
            self._path.touch()
            self._is_written = True
        except OSError as error:
            if self._is_written:  # once
                logger.warning("The liveness file cannot be written: %s", error)
            self._is_written = False
        return self.INTERVAL

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
