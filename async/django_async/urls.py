"""The endpoints: ``path("async/", include("django_async.urls"))``. See docs/admin.md."""

from __future__ import annotations

from django.urls import path

from django_async import endpoints

app_name = "django_async"

urlpatterns = [
    path("health/", endpoints.health, name="health"),
    path("health/live/", endpoints.live, name="live"),
    path("metrics/", endpoints.metrics, name="metrics"),
    path("progress/<path:reference>/", endpoints.group_progress, name="progress"),
    path("schedule/", endpoints.schedule, name="schedule"),
]
