"""Routers that send the queue to another database than the default one."""

from __future__ import annotations

from typing import Any


class QueueElsewhere:
    """All that belongs to the queue is in ``other``."""

    def db_for_write(self, model: Any, **_: Any) -> str | None:
        return "other" if model._meta.app_label == "async" else None

    db_for_read = db_for_write


class WrittenElsewhere(QueueElsewhere):
    """The same, but reads are sent to ``default``, as to a copy that lags behind."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        return None
