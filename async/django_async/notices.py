"""Notices: what parents tell people (what runs now), and what people tell parents (cancel, pause).

They stand apart from the jobs, so that nobody who reads or writes one meets the lock of a job that
runs. That is why nothing here has a constraint to a job or is unique: a foreign key would ask for
the job's row, and whoever inserts a value that another transaction has inserted waits for its end.
What stands here twice means the same as once.

On SQLite a running job holds the lock of the whole database. There the first two tables are empty,
and what belongs into them is in a file of its own: see sidecar.py.
"""

from __future__ import annotations

from django.db import models


class Running(models.Model):
    """A job that runs now, as its parent says; the parent may have died since."""

    parent = models.ForeignKey(
        "Parent", models.CASCADE, to_field="token", related_name="runs", db_constraint=False
    )
    """By its token, which stays the same if the parent is struck out by mistake and comes back."""
    job = models.ForeignKey("Job", models.DO_NOTHING, related_name="runs", db_constraint=False)
    attempt = models.PositiveIntegerField()
    pid = models.IntegerField()
    since = models.DateTimeField()
    done = models.FloatField(null=True)
    total = models.FloatField(null=True)
    message = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        pass

    def __str__(self) -> str:
        return f"job {self.job_id}, attempt {self.attempt}, in process {self.pid}"


class Cancellation(models.Model):
    """Somebody has asked for a job to be cancelled that could not be cancelled at once."""

    job = models.ForeignKey("Job", models.DO_NOTHING, related_name="+", db_constraint=False)
    added = models.DateTimeField()
    """Job.added, which tells the job from a later one with its id: ``flush`` counts anew."""
    asked = models.DateTimeField()

    class Meta:
        pass

    def __str__(self) -> str:
        return f"cancel job {self.job_id}"


class Pause(models.Model):
    """A queue of which nothing is handed out; an empty name means every queue."""

    queue = models.CharField(max_length=100, default="", blank=True)
    since = models.DateTimeField()

    class Meta:
        pass

    def __str__(self) -> str:
        return self.queue or "every queue"
