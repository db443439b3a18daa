"""Exactly the tables of django-async 0.7.3: a database that has its migration simply goes on."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models.deletion import CASCADE


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            name="Error",
            fields=[
                (
                    "id",
                    models.AutoField(
                        verbose_name="ID", serialize=False, auto_created=True, primary_key=True
                    ),
                ),
                ("executed", models.DateTimeField(auto_now_add=True)),
                ("exception", models.TextField()),
                ("traceback", models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name="Group",
            fields=[
                (
                    "id",
                    models.AutoField(
                        verbose_name="ID", serialize=False, auto_created=True, primary_key=True
                    ),
                ),
                ("reference", models.CharField(max_length=100)),
                ("description", models.TextField(null=True, blank=True)),
                ("created", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.AutoField(
                        verbose_name="ID", serialize=False, auto_created=True, primary_key=True
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("args", models.TextField()),
                ("kwargs", models.TextField()),
                ("meta", models.TextField()),
                ("result", models.TextField(blank=True)),
                ("priority", models.IntegerField()),
                ("identity", models.CharField(max_length=100, db_index=True)),
                ("added", models.DateTimeField(auto_now_add=True)),
                (
                    "scheduled",
                    models.DateTimeField(
                        help_text="If not set, will be executed ASAP", null=True, blank=True
                    ),
                ),
                ("started", models.DateTimeField(null=True, blank=True)),
                ("executed", models.DateTimeField(null=True, blank=True)),
                ("cancelled", models.DateTimeField(null=True, blank=True)),
                (
                    "group",
                    models.ForeignKey(
                        to="async.Group",
                        on_delete=CASCADE,
                        related_name="jobs",
                        blank=True,
                        null=True,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="group",
            name="final",
            field=models.ForeignKey(
                to="async.Job", on_delete=CASCADE, related_name="ends", blank=True, null=True
            ),
        ),
        migrations.AddField(
            model_name="error",
            name="job",
            field=models.ForeignKey(to="async.Job", on_delete=CASCADE, related_name="errors"),
        ),
    ]
