"""What jobs write, and what the yardstick updates."""

# Python 3.6 runs this file as well, for a peer that needs it: no newer syntax.

import os
from typing import ClassVar

from django.db import models

MB_OF_TEXTS = 14_000
BALLAST = [
    f"{number:016x}" for number in range(int(os.environ.get("BENCHMARK_BALLAST", 0)) * MB_OF_TEXTS)
]
"""An application of so many MB, which Django has loaded before any worker is forked."""


class Line(models.Model):
    """The one row that a one-insert job writes."""

    objects: "ClassVar[models.Manager[Line]]"

    at = models.FloatField()
    """Seconds of the machine's monotonic clock, which all its processes share."""

    def __str__(self) -> str:
        return f"{self.pk} at {self.at}"


class Ticket(models.Model):
    """A row that the yardstick updates where the queue marks a job's row."""

    objects: "ClassVar[models.Manager[Ticket]]"

    done = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.pk} done {self.done}"
