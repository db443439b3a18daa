"""Errors: the attempts that did not end in an executed job.

There may be a million of them, and no index is by what they say. So the search is by the id of a
job, which has an index, and by a text among the latest ones alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Prefetch, Q, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_async.admin import wording
from django_async.admin.kinds import Kinds, kind_text
from django_async.admin.pages import BoundedPaginator
from django_async.admin.readonly import ReadOnly
from django_async.models import Error, Job
from django_async.recurring import LONGEST_TEXT, earliest

if TYPE_CHECKING:
    ErrorBase = admin.ModelAdmin[Error]
else:
    ErrorBase = admin.ModelAdmin


@admin.register(Error)
class ErrorAdmin(Kinds, ReadOnly, ErrorBase):
    list_display = ("when", "what", "of_job", "process", "of_kind")
    ordering = ("-id",)
    sortable_by = ()
    paginator = BoundedPaginator
    show_full_result_count = False
    search_fields = ("=job__id",)
    search_help_text = _(
        "The id of a job, or what the exception or its kind has in it, among the latest errors"
    )
    fields = ("when", "began", "of_job", "process", "of_kind", "text", "trace")
    readonly_fields = fields

    class Media:
        css = {"all": ("django_async/lists.css",)}  # noqa: RUF012 - Django's idiom

    def get_queryset(self, request: HttpRequest) -> QuerySet[Error]:
        """Without the tracebacks, and with no more of each job than its name."""
        names = Prefetch("job", Job.objects.only("name"))
        return super().get_queryset(request).defer("traceback").prefetch_related(names)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        text = search_term.strip()
        if text.isascii() and text.isdecimal() and len(text) < 19:
            return queryset.filter(job_id=int(text)), False
        return (_with(queryset, text) if text else queryset), False

    @admin.display(description=_("When"))
    def when(self, error: Error) -> Any:
        return error.executed

    @admin.display(description=_("Attempt began"))
    def began(self, error: Error) -> Any:
        return error.started

    @admin.display(description=_("Exception"))
    def what(self, error: Error) -> SafeString:
        return format_html("<bdi>{}</bdi>", wording.short(error.exception))

    @admin.display(description=_("Job"))
    def of_job(self, error: Error) -> SafeString:
        site = self.admin_site.name
        address = reverse("admin:async_job_change", args=[error.job_id], current_app=site)
        name = wording.short(error.job.name)
        return format_html('<a href="{}"><bdi>{}</bdi> ({})</a>', address, name, str(error.job_id))

    @admin.display(description=_("Worker"))
    def process(self, error: Error) -> str:
        return wording.short(error.worker) if error.worker else wording.NOTHING

    @admin.display(description=_("Kind"))
    def of_kind(self, error: Error) -> SafeString:
        return format_html("<bdi>{}</bdi>", kind_text(error.kind))

    @admin.display(description=_("Exception"))
    def text(self, error: Error) -> SafeString:
        return format_html("<bdi>{}</bdi>", wording.lines(error.exception))

    @admin.display(description=_("Traceback"))
    def trace(self, error: Error) -> SafeString:
        return format_html(
            '<details><summary>{}</summary><pre tabindex="0">{}</pre></details>',
            gettext("Show the traceback"),
            wording.lines(error.traceback),
        )


def _with(errors: QuerySet[Error], text: str) -> QuerySet[Error]:
    """Those of the latest whose exception's beginning, or its kind, has the text in it."""
    latest = errors.filter(pk__gte=earliest())
    latest = latest.annotate(beginning=Left("exception", LONGEST_TEXT))
    return latest.filter(Q(beginning__icontains=text) | Q(kind__icontains=text))
