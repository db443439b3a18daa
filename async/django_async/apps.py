"""The Django application. Its label is 0.7.3's, so that the tables of old go on being used."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AsyncConfig(AppConfig):
    name = "django_async"
    label = "async"
    verbose_name = _("Job queue")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_async import checks

        checks.register()
