"""What operators may be allowed to do to jobs: no change of any table."""

from __future__ import annotations

from django.db import migrations

PERMISSIONS = [
    ("retry_job", "Can have jobs run again"),
    ("cancel_job", "Can cancel jobs, running ones too"),
    ("reschedule_job", "Can give jobs another time"),
    ("prioritise_job", "Can give jobs another priority"),
    ("discard_job", "Can give jobs up"),
    ("move_job", "Can put jobs into another queue"),
]


class Migration(migrations.Migration):
    dependencies = [("async", "0009_statistics")]

    operations = [migrations.AlterModelOptions("job", {"permissions": PERMISSIONS})]
