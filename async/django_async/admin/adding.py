"""Scheduling by hand: a page with the keywords of ``schedule()``, for who has the permission.

What the settings do not name is refused (see byhand.py), and what ``schedule()`` refuses is said
beside the field that it is about. A form that is refused comes back as it was sent.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_async import byhand, home
from django_async.admin.verbs import When
from django_async.api import LONGEST_QUEUE, PRIORITIES
from django_async.models import Job
from django_async.payload import label, printable

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Job]
else:
    Base = object

PERMISSION = "async.schedule_job"

OFFERS = "async-functions"
"""The id of the list of functions in the page."""

LONGEST_ERROR = 1000
"""Characters of what the page says is wrong."""

_WIDE = {"class": "vLargeTextField", "spellcheck": "false"}


class Json(forms.CharField):
    """A text that is JSON; empty for None. Sent back as it was typed if it is none."""

    widget = forms.Textarea

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            return json.loads(text) if text else None
        except (ValueError, RecursionError) as error:
            raise ValidationError(gettext("This is no JSON: %s") % error) from error


def _json(title: Any, example: str) -> Json:
    attributes = {**_WIDE, "rows": 2, "placeholder": example}
    return Json(label=title, required=False, widget=forms.Textarea(attributes))


class ByHand(When):
    """What ``schedule()`` takes."""

    moments = (0, 1)
    field_order = (
        *("function", "args", "kwargs", "at", "minutes"),
        *("priority", "queue", "group", "meta"),
    )

    function = forms.CharField(
        label=_("Function"),
        widget=forms.TextInput({"class": "vTextField", "list": OFFERS, "autocomplete": "off"}),
    )
    args = _json(_("Arguments, a list in JSON"), '[1, "two"]')
    kwargs = _json(_("Arguments by name, an object in JSON"), '{"key": "value"}')
    priority = forms.IntegerField(
        label=_("Priority"), initial=5, min_value=PRIORITIES[0], max_value=PRIORITIES[-1]
    )
    queue = forms.CharField(label=_("Queue"), initial="default", max_length=LONGEST_QUEUE)
    group = forms.CharField(label=_("Reference of a group"), required=False)
    meta = _json(_("Options of attempts, an object in JSON"), '{"timeout": 60}')

    def schedule(self) -> Job | None:
        """The job; None if there cannot be one, and then the form says why."""
        found = dict(self.cleaned_data)
        del found["at"], found["minutes"]
        [when] = self.value()
        group = found.pop("group") or None
        try:
            with transaction.atomic(using=home.of_queue()):
                return byhand.schedule_by_hand(**found, group=group, run_after=when)
        except ValidationError as error:
            self.add_error("group", error)
        except (TypeError, ValueError) as error:
            self._refuse(error)
        return None

    def _refuse(self, error: Exception) -> None:
        message = printable(str(error))
        named = re.match(r"(args|kwargs|meta|group|queue|priority)\b", message)
        is_path = isinstance(error, byhand.REFUSED)
        about = "function" if is_path else named[1] if named else None
        self.add_error(about, message[:LONGEST_ERROR])


class Adding(Base):
    """For the admin of jobs, to be named before its other bases."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(PERMISSION))

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page; what is posted to it is scheduled."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ByHand(request.POST if request.method == "POST" else None)
        if form.is_valid() and (job := form.schedule()):
            return self._scheduled(request, job)
        context = {
            **self.admin_site.each_context(request),
            **(extra_context or {}),
            "opts": self.opts,
            "title": _("Schedule a job"),
            "form": form,
            "offers": byhand.offers(),
            "offers_id": OFFERS,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/async/schedule.html", context)

    def _scheduled(self, request: HttpRequest, job: Job) -> HttpResponse:
        call = label(job.name, job.args, job.kwargs)
        LogEntry.objects.create(
            user_id=int(request.user.pk or 0),
            content_type=ContentType.objects.get_for_model(Job),
            object_id=str(job.pk),
            object_repr=call[:200],
            action_flag=ADDITION,
            change_message=gettext("Scheduled by hand"),
        )
        said = gettext("Job %(id)s is scheduled: %(call)s") % {"id": job.pk, "call": call}
        self.message_user(request, said, "SUCCESS")
        site = self.admin_site.name
        if not self.has_view_permission(request, job):
            return redirect(reverse("admin:index", current_app=site))
        return redirect(reverse("admin:async_job_change", args=[job.pk], current_app=site))
