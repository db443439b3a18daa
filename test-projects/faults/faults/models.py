"""The ledger: what jobs have done inside of their transactions."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Entry(models.Model):
    """One execution of a job. Nothing is unique here: a second one has to show."""

    objects: ClassVar[models.Manager[Entry]]

    job = models.BigIntegerField()
    pid = models.IntegerField()
    at = models.FloatField()
    """Seconds of the machine's monotonic clock, which all its processes share."""

    def __str__(self) -> str:
        return f"job {self.job} in process {self.pid}"
