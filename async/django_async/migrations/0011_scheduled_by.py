"""Which job scheduled a job, and who may schedule by hand.

The column is null in all rows of old, so that adding it rewrites no table; and nothing is looked up
by it, so that it has no index.
"""

from __future__ import annotations

from importlib import import_module

from django.db import migrations, models

OTHERS = import_module("django_async.migrations.0010_permissions").PERMISSIONS


class Migration(migrations.Migration):
    dependencies = [("async", "0010_permissions")]

    operations = [
        migrations.AddField(
            "job", "scheduled_by", models.BigIntegerField(editable=False, null=True)
        ),
        migrations.AlterModelOptions(
            "job", {"permissions": [*OTHERS, ("schedule_job", "Can schedule jobs by hand")]}
        ),
    ]
