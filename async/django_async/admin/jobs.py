"""Jobs: to look at, not to edit into states that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_async import lookup
from django_async.admin import wording
from django_async.admin.adding import Adding
from django_async.admin.chips import chip, state_of
from django_async.admin.dashboard import Dashboard
from django_async.admin.detail import Detail
from django_async.admin.filters import FILTERS
from django_async.admin.listing import JobList, sought
from django_async.admin.pages import BoundedPaginator
from django_async.admin.readonly import ReadOnly
from django_async.admin.verbs import Verbs
from django_async.calls import call, with_calls
from django_async.models import Job

if TYPE_CHECKING:
    JobBase = admin.ModelAdmin[Job]
else:
    JobBase = admin.ModelAdmin


NO_FACETS: Any = getattr(getattr(admin, "ShowFacets", None), "NEVER", None)
"""Each of Django's counts beside a filter would look at all jobs. (Django 4.2 has none.)"""


@admin.register(Job)
class JobAdmin(Dashboard, Adding, Verbs, Detail, ReadOnly, JobBase):
    list_display = (
        *("id", "state_chip", "call", "priority", "queue_name", "when", "tries", "of_group"),
    )
    list_display_links = ("id", "call")
    list_filter = FILTERS
    list_select_related = ("group",)
    search_fields = ("name",)  # so that there is a field to type in; see get_search_results()
    search_help_text = _(
        "An id, the id of a task, a whole call, or a word of the function or its arguments"
    )
    show_facets = NO_FACETS
    show_full_result_count = False
    sortable_by = ()
    paginator = BoundedPaginator

    class Media:
        css = {"all": ("django_async/lists.css", "django_async/jobs.css")}  # noqa: RUF012

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list; it tells the columns which of its jobs run."""
        page: Any = super().get_changelist_instance(request)
        for job in page.result_list:
            job.is_at_work = job.pk in (page.running or ())
        return page

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return with_calls(super().get_queryset(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        if not search_term:
            return queryset, False
        return lookup.with_arguments(queryset).filter(sought(search_term)), False

    @admin.display(description=_("Call"))
    def call(self, job: Job) -> SafeString:
        return format_html("<bdi>{}</bdi>", call(job))

    @admin.display(description=_("State"))
    def state_chip(self, job: Any) -> SafeString:
        return chip(state_of(job, runs=job.is_at_work))

    @admin.display(description=_("Queue"))
    def queue_name(self, job: Job) -> SafeString:
        return format_html("<bdi>{}</bdi>", wording.short(job.queue))

    @admin.display(description=_("Since, or from when"))
    def when(self, job: Job) -> SafeString:
        """When it ended, began, or is to run."""
        ended = job.executed or job.cancelled or job.discarded
        return wording.moment(ended or job.started or job.scheduled or job.added)

    @admin.display(description=_("Attempts"))
    def tries(self, job: Job) -> int:
        return job.attempts

    @admin.display(description=_("Group"))
    def of_group(self, job: Job) -> str:
        if job.group is None:
            return wording.NOTHING
        address = reverse(
            "admin:async_group_change", args=[job.group.pk], current_app=self.admin_site.name
        )
        return format_html(
            '<a href="{}"><bdi>{}</bdi></a>', address, wording.short(job.group.reference)
        )
