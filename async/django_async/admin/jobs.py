"""Jobs: to look at, not to edit into states that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_async.admin.adding import Adding
from django_async.admin.dashboard import Dashboard
from django_async.admin.readonly import ReadOnly
from django_async.admin.verbs import Verbs
from django_async.models import Error, Job
from django_async.payload import label

if TYPE_CHECKING:
    JobBase = admin.ModelAdmin[Job]
    InlineBase = admin.TabularInline[Error, Job]
else:
    JobBase = admin.ModelAdmin
    InlineBase = admin.TabularInline


class ErrorInline(ReadOnly, InlineBase):
    """A job's failed attempts."""

    model = Error
    fields = readonly_fields = ("executed", "worker", "exception", "traceback")
    extra = 0
    can_delete = False


@admin.register(Job)
class JobAdmin(Dashboard, Adding, Verbs, ReadOnly, JobBase):
    list_display = ("id", "call", "state", "priority", "queue", "scheduled", "executed", "group")
    list_display_links = ("id", "call")
    list_filter = ("queue", "priority")
    list_select_related = ("group",)
    search_fields = ("name", "=task_id")
    show_full_result_count = False
    inlines = (ErrorInline,)

    @admin.display(description=_("Call"))
    def call(self, job: Job) -> str:
        return label(job.name, job.args, job.kwargs)
