"""Room to grow: big ids, wider names, attempts, giving up, queues."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models.deletion import SET_NULL

BIG_ID = models.BigAutoField(
    auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
)


class Migration(migrations.Migration):
    dependencies = [("async", "0001_initial")]

    operations = [
        migrations.AlterField("job", "id", BIG_ID),
        migrations.AlterField("group", "id", BIG_ID),
        migrations.AlterField("error", "id", BIG_ID),
        migrations.AlterField("job", "name", models.CharField(max_length=255)),
        migrations.AlterField("job", "args", models.TextField(default="[]")),
        migrations.AlterField("job", "kwargs", models.TextField(default="{}")),
        migrations.AlterField("job", "meta", models.TextField(default="{}")),
        migrations.AlterField("job", "priority", models.IntegerField(default=5)),
        # Only pending jobs are looked up by identity: a smaller index follows for them.
        migrations.AlterField("job", "identity", models.CharField(max_length=100)),
        migrations.AddField(
            "job", "attempts", models.PositiveIntegerField(default=0, editable=False)
        ),
        migrations.AddField(
            "job", "crashes", models.PositiveIntegerField(default=0, editable=False)
        ),
        migrations.AddField("job", "discarded", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("job", "queue", models.CharField(default="default", max_length=100)),
        migrations.AlterField("group", "reference", models.CharField(max_length=255)),
        migrations.AddField(
            "group",
            "open_reference",
            models.CharField(blank=True, editable=False, max_length=255, null=True, unique=True),
        ),
        # Deleting a final job used to delete its group, and with it all of the group's jobs.
        migrations.AlterField(
            "group",
            "final",
            models.ForeignKey(
                blank=True, null=True, on_delete=SET_NULL, related_name="ends", to="async.job"
            ),
        ),
    ]
