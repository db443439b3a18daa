"""What an operator can do to jobs that were chosen in their list: asked first, and logged.

Each has a permission of its own. Whoever lacks it does not see the action, and gets a 403 for
sending it all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext, gettext_lazy, ngettext

from django_async import many
from django_async.api import PRIORITIES, checked_queue
from django_async.calls import call
from django_async.many import Tally
from django_async.models import Job

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Job]
else:
    Base = object

COUNTED = 100_000
"""Jobs that are counted for the question; of more it says that they are more."""


class Sure(forms.Form):
    """Nothing but the question."""

    def value(self) -> Any:
        """What the verb is given besides the jobs."""
        return ()


class When(Sure):
    """A moment, or so long from now."""

    moments: tuple[int, ...] = (1,)
    """How many of the two there may be."""

    at = forms.DateTimeField(
        label=gettext_lazy("At"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    minutes = forms.FloatField(
        label=gettext_lazy("or in so many minutes"), required=False, min_value=0, max_value=10**8
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        given = [cleaned.get(name) for name in ("at", "minutes")]
        if not self.errors and 2 - given.count(None) not in self.moments:
            raise ValidationError(gettext("Give a moment or a number of minutes: one of the two."))
        return cleaned

    def value(self) -> Any:
        at, minutes = self.cleaned_data["at"], self.cleaned_data["minutes"]
        return (at if minutes is None else timedelta(minutes=minutes),)


class Priority(Sure):
    """A priority."""

    priority = forms.IntegerField(
        label=gettext_lazy("Priority"), min_value=PRIORITIES[0], max_value=PRIORITIES[-1]
    )

    def value(self) -> Any:
        return (self.cleaned_data["priority"],)


class Queue(Sure):
    """The name of a queue."""

    queue = forms.CharField(label=gettext_lazy("Queue"), max_length=100)

    def clean_queue(self) -> str:
        try:
            return checked_queue(self.cleaned_data["queue"])
        except (TypeError, ValueError) as error:
            raise ValidationError(str(error)) from error

    def value(self) -> Any:
        return (self.cleaned_data["queue"],)


@dataclass(frozen=True)
class Verb:
    """One of the actions.

    Attributes:
        name: of the action; its permission is ``async.<name>_job``.
        act: does it to the jobs, with the form's value.
    """

    name: str
    description: Any
    act: Callable[..., Tally]
    form: type[Sure] = Sure

    def is_allowed(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(f"async.{self.name}_job"))


VERBS = (
    Verb("retry", gettext_lazy("Retry now"), many.retry),
    Verb("reschedule", gettext_lazy("Reschedule"), many.reschedule, When),
    Verb("prioritise", gettext_lazy("Change the priority"), many.prioritise, Priority),
    Verb("move", gettext_lazy("Move to another queue"), many.move, Queue),
    Verb("cancel", gettext_lazy("Cancel, running ones too"), many.cancel),
    Verb("discard", gettext_lazy("Discard: give up"), many.discard),
)


def _action(verb: Verb) -> Callable[..., HttpResponseBase | None]:
    def act(page: Any, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponseBase | None:
        form = verb.form(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            _do(verb, form, page, request, jobs)
            return None
        return _ask(verb, form, page, request, jobs)

    act.__name__ = verb.name
    return admin.action(act, permissions=[verb.name], description=verb.description)


class Verbs(Base):
    """For the admin of jobs, to be named before its other bases."""

    actions = [_action(verb) for verb in VERBS]  # noqa: RUF012 - Django's idiom

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        wanted = request.POST.get("action")
        if any(verb.name == wanted and not verb.is_allowed(request) for verb in VERBS):
            raise PermissionDenied
        return super().changelist_view(request, extra_context)


def _may(verb: Verb) -> Callable[..., bool]:
    return lambda page, request: verb.is_allowed(request)


for _verb in VERBS:  # by these Django asks
    setattr(Verbs, f"has_{_verb.name}_permission", _may(_verb))


def _ask(
    verb: Verb, form: Sure, page: Any, request: HttpRequest, jobs: QuerySet[Job]
) -> HttpResponseBase:
    number = jobs.order_by()[: COUNTED + 1].count()
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": verb.description,
        "verb": verb,
        "form": form,
        "number": min(number, COUNTED),
        "are_more": number > COUNTED,
        "some": [(job.pk, call(job)) for job in jobs[:10]],
        "chosen": request.POST.getlist("_selected_action"),
        "is_across": request.POST.get("select_across") == "1",
    }
    return TemplateResponse(request, "admin/async/confirm.html", context)


def _do(verb: Verb, form: Sure, page: Any, request: HttpRequest, jobs: QuerySet[Job]) -> None:
    tally = verb.act(
        jobs.model.objects.using(jobs.db).filter(pk__in=jobs.values("pk")), *form.value()
    )
    done = tally.changed + tally.asked
    page.message_user(request, f"{verb.description}: {tally}", "SUCCESS" if done else "WARNING")
    message = " ".join([str(verb.description), *map(str, form.value())])
    LogEntry.objects.create(
        user_id=int(request.user.pk or 0),
        content_type=ContentType.objects.get_for_model(Job),
        object_id=None,
        object_repr=ngettext("%(n)s job", "%(n)s jobs", done) % {"n": done},
        action_flag=CHANGE,
        change_message=f"{message}: {tally}",
    )
