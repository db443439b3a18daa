"""What Django's task framework asks of a job: an id of its own, who ran it, and since when.

The columns are null in all rows of old, so that adding them rewrites no table.
"""

from __future__ import annotations

from django.db import migrations, models

from django_async.vendor import RunVendorSQL

PARTIAL = "CREATE UNIQUE INDEX async_job_task ON async_job (task_id) WHERE task_id IS NOT NULL"
WHOLE = "CREATE UNIQUE INDEX async_job_task ON async_job (task_id)"


class Migration(migrations.Migration):
    dependencies = [("async", "0007_notices")]

    operations = [
        migrations.AddField(
            "job", "task_id", models.CharField(editable=False, max_length=32, null=True)
        ),
        migrations.AddField(
            "job", "worker", models.CharField(editable=False, max_length=100, null=True)
        ),
        migrations.AddField("error", "kind", models.CharField(max_length=255, null=True)),
        migrations.AddField("error", "worker", models.CharField(max_length=100, null=True)),
        migrations.AddField("error", "started", models.DateTimeField(null=True)),
        RunVendorSQL(
            forwards={"postgresql": [PARTIAL], "sqlite": [PARTIAL], "mysql": [WHOLE]},
            backwards={
                "postgresql": ["DROP INDEX async_job_task"],
                "sqlite": ["DROP INDEX async_job_task"],
                "mysql": ["DROP INDEX async_job_task ON async_job"],
            },
        ),
    ]
