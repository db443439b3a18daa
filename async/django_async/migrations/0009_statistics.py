"""What was attempted when, how often and for how long: one table more, and nothing else."""

from __future__ import annotations

from django.db import migrations, models

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    dependencies = [("async", "0008_tasks")]

    operations = [
        migrations.CreateModel(
            name="Statistic",
            fields=[
                ("id", ID),
                ("width", models.PositiveIntegerField()),
                ("begin", models.DateTimeField()),
                ("scope", models.CharField(max_length=8)),
                ("label", models.CharField(blank=True, default="", max_length=255)),
                ("executed", models.BigIntegerField(default=0)),
                ("failed", models.BigIntegerField(default=0)),
                ("discarded", models.BigIntegerField(default=0)),
                ("cancelled", models.BigIntegerField(default=0)),
                ("seconds", models.FloatField(default=0.0)),
                ("waits", models.TextField(default="{}")),
                ("runs", models.TextField(default="{}")),
            ],
            options={
                "indexes": [
                    models.Index(fields=["scope", "begin"], name="async_statistic_read"),
                    models.Index(fields=["scope", "label", "begin"], name="async_statistic_label"),
                    models.Index(fields=["width", "begin"], name="async_statistic_merge"),
                ],
            },
        ),
    ]
