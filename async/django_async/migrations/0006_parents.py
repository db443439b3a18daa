"""Who has which jobs in hand, so that deaths are counted even if everybody died."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("async", "0005_indexes")]

    operations = [
        # Without a default: SQLite rebuilds a table for one, and would lose its partial indexes.
        migrations.AddField(
            "job", "stamp", models.CharField(editable=False, max_length=32, null=True)
        ),
        migrations.CreateModel(
            name="Parent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("token", models.CharField(editable=False, max_length=32, unique=True)),
                ("host", models.CharField(max_length=255)),
                ("process", models.CharField(max_length=100)),
                ("workers", models.PositiveIntegerField(default=1)),
                ("batch", models.TextField(default="[]")),
                ("began", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
