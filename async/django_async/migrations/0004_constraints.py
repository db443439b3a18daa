"""Forbid the rows that cannot be."""

from __future__ import annotations

from django.db import migrations
from django.db.models import F, Q

from django_async.compat import check_constraint


class Migration(migrations.Migration):
    dependencies = [("async", "0003_repair")]

    operations = [
        migrations.AddConstraint(
            "job",
            check_constraint(
                Q(executed=None, cancelled=None)
                | Q(executed=None, discarded=None)
                | Q(cancelled=None, discarded=None),
                name="async_job_ends_once",
            ),
        ),
        migrations.AddConstraint(
            "job",
            check_constraint(
                Q(executed=None) | Q(started__isnull=False), name="async_job_started_first"
            ),
        ),
        migrations.AddConstraint("job", check_constraint(~Q(queue=""), name="async_job_has_queue")),
        migrations.AddConstraint(
            "job",
            check_constraint(Q(attempts__gte=F("crashes")), name="async_job_crashes_are_attempts"),
        ),
    ]
