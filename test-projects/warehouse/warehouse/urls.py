"""The admin is the only page of the warehouse; for machines there are the queue's endpoints."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("async/", include("django_async.urls")),
]
