"""Groups, with how far each has come.

A group may have a million jobs, and a page shows many groups. So the list counts at most
``progress.MOST`` jobs of each and says of larger ones only that they are; the page of one group
counts them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_async import progress
from django_async.admin import wording
from django_async.admin.pages import BoundedPaginator
from django_async.admin.readonly import ReadOnly
from django_async.models import Group
from django_async.payload import label

if TYPE_CHECKING:
    GroupBase = admin.ModelAdmin[Group]
else:
    GroupBase = admin.ModelAdmin


@admin.register(Group)
class GroupAdmin(ReadOnly, GroupBase):
    list_display = (
        *("name", "progress_bar", "errors", "remaining", "executed_jobs", "unexecuted_jobs"),
        *("created", "final_job", "about"),
    )
    list_per_page = 25
    list_select_related = ("final",)
    ordering = ("-id",)
    search_fields = ("reference",)
    show_full_result_count = False
    paginator = BoundedPaginator
    fields = (
        *("name", "about", "created", "progress_bar", "executed_jobs", "unexecuted_jobs"),
        *("errors", "remaining", "final_job", "jobs"),
    )
    readonly_fields = fields

    class Media:
        css = {"all": ("django_async/lists.css",)}  # noqa: RUF012 - Django's idiom

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Group | None:
        """The group of a page of its own, whose jobs are all counted."""
        group = super().get_object(request, *args, **kwargs)
        if group is not None:
            _counts(group, most=group.jobs.count())
        return group

    @admin.display(description=_("Reference"), ordering="reference")
    def name(self, group: Group) -> SafeString:
        return format_html("<bdi>{}</bdi>", wording.short(group.reference))

    @admin.display(description=_("Description"))
    def about(self, group: Group) -> SafeString:
        return format_html("<bdi>{}</bdi>", wording.short(group.description or ""))

    @admin.display(description=_("Progress"))
    def progress_bar(self, group: Group) -> str:
        found = _counts(group)
        if found is None:
            return _large(group)
        if not found.total:
            return gettext("no jobs")
        return format_html(
            '<progress value="{}" max="{}" aria-label="{}"></progress> <span>{}</span>',
            str(found.ended),
            str(found.total),
            gettext("Progress of group %s") % wording.short(group.reference),
            gettext("%(ended)s of %(total)s")
            % {"ended": wording.count(found.ended), "total": wording.count(found.total)},
        )

    @admin.display(description=_("Executed"))
    def executed_jobs(self, group: Group) -> int | str:
        found = _counts(group)
        return wording.NOTHING if found is None else found.executed

    @admin.display(description=_("Unexecuted"))
    def unexecuted_jobs(self, group: Group) -> int | str:
        found = _counts(group)
        return wording.NOTHING if found is None else found.total - found.executed

    @admin.display(description=_("Failed jobs"))
    def errors(self, group: Group) -> str:
        found = _counts(group)
        if found is None or not found.failed:
            return wording.NOTHING if found is None else "0"
        return format_html(
            '<strong class="async-alarm">{}</strong>',
            gettext("%(failed)s (%(failing)s open)")
            % {"failed": wording.count(found.failed), "failing": wording.count(found.failing)},
        )

    @admin.display(description=_("Time left"))
    def remaining(self, group: Group) -> str:
        found = _counts(group)
        if found is None or found.remaining is None:
            return wording.NOTHING
        if found.ended == found.total:
            return gettext("all have ended")
        return gettext("about %s") % wording.duration(found.remaining.total_seconds())

    @admin.display(description=_("Final job"))
    def final_job(self, group: Group) -> str:
        job = group.final
        if job is None:
            return wording.NOTHING
        address = reverse("admin:async_job_change", args=[job.pk], current_app=self.admin_site.name)
        called = wording.short(label(job.name, job.args, job.kwargs))
        return format_html('<a href="{}"><bdi>{}</bdi></a> ({})', address, called, job.state)

    @admin.display(description=_("Jobs"))
    def jobs(self, group: Group) -> SafeString:
        address = reverse("admin:async_job_changelist", current_app=self.admin_site.name)
        query = urlencode({"group": group.pk})
        return format_html(
            '<a href="{}?{}">{}</a>', address, query, gettext("The jobs of this group")
        )


def _counts(group: Any, most: int = progress.MOST) -> progress.Counts | None:
    """Read once for all columns of a row."""
    if not hasattr(group, "_async_counts"):
        group._async_counts = progress.counts(group, most)
    found: progress.Counts | None = group._async_counts
    return found


def _large(group: Group) -> str:
    many = gettext("more than %s jobs") % wording.count(progress.MOST)
    end = gettext("not all have ended") if progress.is_open(group) else gettext("all have ended")
    return f"{many}, {end}"
