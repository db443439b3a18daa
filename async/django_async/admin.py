"""The queue in Django's admin: to look at, not to edit into states that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_async.models import Error, Group, Job
from django_async.payload import label

if TYPE_CHECKING:
    JobBase = admin.ModelAdmin[Job]
    GroupBase = admin.ModelAdmin[Group]
    ErrorBase = admin.ModelAdmin[Error]
    InlineBase = admin.TabularInline[Error, Job]
else:
    JobBase = GroupBase = ErrorBase = admin.ModelAdmin
    InlineBase = admin.TabularInline


class ReadOnly:
    """Rows change through the API alone."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ErrorInline(ReadOnly, InlineBase):
    """A job's failed attempts."""

    model = Error
    fields = readonly_fields = ("executed", "worker", "exception", "traceback")
    extra = 0
    can_delete = False


@admin.register(Job)
class JobAdmin(ReadOnly, JobBase):
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


@admin.register(Group)
class GroupAdmin(ReadOnly, GroupBase):
    list_display = ("reference", "description", "created", "executed_jobs", "unexecuted_jobs")
    search_fields = ("reference",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        executed = Count("jobs", Q(jobs__executed__isnull=False))
        return super().get_queryset(request).annotate(executed=executed, all_jobs=Count("jobs"))

    @admin.display(description=_("Executed"))
    def executed_jobs(self, group: Any) -> int:
        return int(group.executed)

    @admin.display(description=_("Unexecuted"))
    def unexecuted_jobs(self, group: Any) -> int:
        return int(group.all_jobs - group.executed)


@admin.register(Error)
class ErrorAdmin(ReadOnly, ErrorBase):
    list_display = ("id", "executed", "exception", "job_id")
    show_full_result_count = False
