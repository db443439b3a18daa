"""Groups, with how far each has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_async.admin.readonly import ReadOnly
from django_async.models import Group

if TYPE_CHECKING:
    GroupBase = admin.ModelAdmin[Group]
else:
    GroupBase = admin.ModelAdmin


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
