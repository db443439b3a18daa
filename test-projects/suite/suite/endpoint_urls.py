"""The endpoints, and nothing else."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("async/", include("django_async.urls"))]
