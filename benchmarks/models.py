"""What jobs write, and what the yardstick updates."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Line(models.Model):
    """The one row that a one-insert job writes."""

    objects: ClassVar[models.Manager[Line]]

    at = models.FloatField()
    """Seconds of the machine's monotonic clock, which all its processes share."""

    def __str__(self) -> str:
        return f"{self.pk} at {self.at}"


class Ticket(models.Model):
    """A row that the yardstick updates where the queue marks a job's row."""

    objects: ClassVar[models.Manager[Ticket]]

    done = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.pk} done {self.done}"
