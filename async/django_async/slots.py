"""What was attempted in a stretch of time, in rows that are only ever added or merged.

A parent adds rows of its own, so that no two processes write to the same one, and none of them is
written by a job. All numbers of rows about the same can be added, so who reads adds up, and how
often rows were merged (see rollup.py) makes no difference.
"""

from __future__ import annotations

from django.db import models

OUTCOMES = ("executed", "failed", "discarded", "cancelled")

ALL, QUEUE, FUNCTION = "all", "queue", "function"

WIDTHS = FINE, COARSE, LONG = 300, 3600, 6 * 3600
"""Seconds from the begin of a slot to its end."""


class Statistic(models.Model):
    """The attempts that ended in a slot, of all jobs, of a queue, or of a function."""

    width = models.PositiveIntegerField()
    """Seconds."""
    begin = models.DateTimeField()
    scope = models.CharField(max_length=8)
    """``all``, ``queue`` or ``function``."""
    label = models.CharField(max_length=255, default="", blank=True)
    """The name of the queue or the function."""

    executed = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    discarded = models.BigIntegerField(default=0)
    cancelled = models.BigIntegerField(default=0)
    seconds = models.FloatField(default=0.0)
    """What all of them took together."""
    waits = models.TextField(default="{}")
    """From when each was due to its start: see histogram.py."""
    runs = models.TextField(default="{}")
    """From the start to the end."""

    class Meta:
        indexes = [  # noqa: RUF012 - Django's idiom
            models.Index(fields=["scope", "begin"], name="async_statistic_read"),
            models.Index(fields=["scope", "label", "begin"], name="async_statistic_label"),
            models.Index(fields=["width", "begin"], name="async_statistic_merge"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.label} from {self.begin} for {self.width} s"
