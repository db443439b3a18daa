"""What runs now, what is to be cancelled, and which queues are paused: tables apart from the jobs.

No foreign key is a constraint: one would wait for the lock of a row that a running job holds.
"""

from __future__ import annotations

from django.db import migrations, models
from django.db.models.deletion import CASCADE, DO_NOTHING

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    dependencies = [("async", "0006_parents")]

    operations = [
        migrations.CreateModel(
            name="Running",
            fields=[
                ("id", ID),
                ("attempt", models.PositiveIntegerField()),
                ("pid", models.IntegerField()),
                ("since", models.DateTimeField()),
                ("done", models.FloatField(null=True)),
                ("total", models.FloatField(null=True)),
                ("message", models.CharField(blank=True, default="", max_length=200)),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=DO_NOTHING,
                        related_name="runs",
                        to="async.job",
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=CASCADE,
                        related_name="runs",
                        to="async.parent",
                        to_field="token",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Cancellation",
            fields=[
                ("id", ID),
                ("added", models.DateTimeField()),
                ("asked", models.DateTimeField()),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False, on_delete=DO_NOTHING, related_name="+", to="async.job"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("id", ID),
                ("queue", models.CharField(blank=True, default="", max_length=100)),
                ("since", models.DateTimeField()),
            ],
        ),
    ]
