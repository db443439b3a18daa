"""What the list of jobs can be narrowed to.

Each filter knows its condition, and whether an index serves that: see lookup.py for what becomes of
the others. What is typed is checked; an address that makes no sense leads back to the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_async import clock, lookup
from django_async.admin import wording
from django_async.admin.span import Span
from django_async.api import PRIORITIES
from django_async.fetch import EVERY_QUEUE
from django_async.models import Group, Job, Pause, Statistic
from django_async.slots import FUNCTION, QUEUE

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList

STATES = {
    "due": _("Due"),
    "running": _("Running"),
    "scheduled": _("Scheduled for later"),
    "failing": _("Failing"),
    "discarded": _("Discarded"),
    "executed": _("Executed"),
    "cancelled": _("Cancelled"),
}

AGES = {
    "hour": (_("In the last hour"), timedelta(hours=1), "gte"),
    "day": (_("In the last day"), timedelta(days=1), "gte"),
    "week": (_("In the last week"), timedelta(days=7), "gte"),
    "before-day": (_("More than a day ago"), timedelta(days=1), "lt"),
    "before-week": (_("More than a week ago"), timedelta(days=7), "lt"),
}

SUGGESTED = 200
"""Names of queues or functions that are offered."""


class JobFilter(admin.SimpleListFilter):
    """One of them."""

    is_indexed = False

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.using = Job.objects.db
        if "\0" in self.chosen:
            raise IncorrectLookupParameters

    @property
    def chosen(self) -> str:
        """What the address says; empty if it says nothing."""
        return str(self.value() or "")

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return ()

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(self.condition()) if self.chosen else queryset

    def condition(self) -> Q:
        """That a job is one of the chosen ones."""
        raise NotImplementedError


class StateFilter(JobFilter):
    """The state; what runs in a transaction seems to be due as well."""

    title, parameter_name = _("state"), "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return STATES.items()

    @property
    def is_indexed(self) -> bool:  # type: ignore[override]
        return self.chosen in lookup.ENDED

    def condition(self) -> Q:
        if self.chosen not in STATES:
            raise IncorrectLookupParameters
        return lookup.is_in(self.chosen, self.using)


class AgeFilter(JobFilter):
    """When it was added."""

    title, parameter_name = _("age"), "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        return [(key, text) for key, (text, *_) in AGES.items()]

    def condition(self) -> Q:
        if self.chosen not in AGES:
            raise IncorrectLookupParameters
        _, age, comparison = AGES[self.chosen]
        border = clock.as_field_value(clock.utc_now(self.using) - age)
        return Q(**{f"added__{comparison}": border})


class DayFilter(JobFilter):
    """When it ended: the year, the month, the day."""

    title, parameter_name = _("when it ended"), "ended"
    is_indexed = True

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        state = request.GET.get("state", "")
        self.column = state if state in lookup.ENDED else "executed"
        self._is_possible = state in ("", *lookup.ENDED)

    def has_output(self) -> bool:
        return bool(self.chosen) or self._is_possible

    def condition(self) -> Q:
        begin, end = self._span().borders
        return Q(**{f"{self.column}__gte": begin, f"{self.column}__lt": end})

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """The way up from what is chosen, and what is in it between the first and the last end."""
        yield self._choice(changelist, None)
        chosen = self._span() if self.chosen else None
        for span in chosen.way if chosen else ():
            yield self._choice(changelist, span)
        for span in (chosen or Span()).parts(*self._first_and_last()):
            yield self._choice(changelist, span)

    def _choice(self, changelist: ChangeList, span: Span | None) -> dict[str, Any]:
        text = str(span) if span else None
        return {
            "selected": self.chosen == (text or ""),
            "query_string": changelist.get_query_string({str(self.parameter_name): text}),
            "display": span.title if span else gettext("Any time"),
        }

    def _first_and_last(self) -> tuple[Any, Any]:
        """Each by a probe of the index: of both in one statement, SQLite would read all of it."""
        ends = lookup.ended(self.column, self.using).order_by(self.column)
        moments = ends.values_list(self.column, flat=True)
        return moments.first(), moments.last()

    def _span(self) -> Span:
        try:
            return Span.read(self.chosen)
        except ValueError as error:
            raise IncorrectLookupParameters from error


class TypedFilter(JobFilter):
    """One whose value is typed."""

    template = "admin/async/filter_typed.html"
    kind = "text"
    """The type of the input."""
    hint: Any = ""
    """An example, where it is not plain what can be typed."""

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """What the template needs, once."""
        without = changelist.get_query_string(remove=[str(self.parameter_name)])
        yield {
            "name": self.parameter_name,
            "value": self.chosen,
            "kind": self.kind,
            "hint": self.hint,
            "others": parse_qsl(without.removeprefix("?")),
            "without": without,
            "suggestions": self.suggestions(),
        }

    def suggestions(self) -> list[str]:
        """What is offered to who types."""
        return []


class QueueFilter(TypedFilter):
    """The queue."""

    title, parameter_name = _("queue"), "queue"

    def condition(self) -> Q:
        return Q(queue=self.chosen)

    def suggestions(self) -> list[str]:
        paused = Pause.objects.using(self.using).values_list("queue", flat=True)
        return sorted({"default", *attempted(QUEUE, self.using), *paused} - {EVERY_QUEUE})


class FunctionFilter(TypedFilter):
    """The path of the function."""

    title, parameter_name = _("function"), "function"
    hint = _("shop.jobs.send, or shop.jobs.")

    def condition(self) -> Q:
        return lookup.calls(self.chosen)

    def suggestions(self) -> list[str]:
        return sorted(attempted(FUNCTION, self.using))


class PriorityFilter(TypedFilter):
    """The priority as it is now: each failure lowers it by one."""

    title, parameter_name = _("priority"), "priority"
    kind = "number"

    def condition(self) -> Q:
        try:
            priority = int(self.chosen)
        except ValueError as error:
            raise IncorrectLookupParameters from error
        if priority not in PRIORITIES:
            raise IncorrectLookupParameters
        return Q(priority=priority)


class ReferenceFilter(TypedFilter):
    """The groups of a reference."""

    title, parameter_name = _("reference of a group"), "reference"
    is_indexed = True

    def condition(self) -> Q:
        groups = Group.objects.using(self.using).filter(reference=self.chosen)
        return Q(group_id__in=list(groups.order_by("-pk").values_list("pk", flat=True)[:100]))


class GroupFilter(JobFilter):
    """One group, as the page of groups links to it."""

    title, parameter_name = _("group"), "group"
    is_indexed = True

    def has_output(self) -> bool:
        return bool(self.chosen)

    def condition(self) -> Q:
        if not (self.chosen.isascii() and self.chosen.isdecimal() and len(self.chosen) < 19):
            raise IncorrectLookupParameters
        return Q(group_id=int(self.chosen))

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Out of it again, and it."""
        without = changelist.get_query_string(remove=[str(self.parameter_name)])
        found = Group.objects.using(self.using).filter(self._is_this()).first()
        title = wording.short(found.reference) if found else self.chosen
        yield {"selected": False, "query_string": without, "display": _("All jobs")}
        yield {"selected": True, "query_string": changelist.get_query_string(), "display": title}

    def _is_this(self) -> Q:
        return Q(pk=int(self.chosen))


FILTERS = (
    *(StateFilter, GroupFilter, QueueFilter, FunctionFilter, PriorityFilter),
    *(AgeFilter, DayFilter, ReferenceFilter),
)


def attempted(scope: str, using: str) -> list[str]:
    """The queues or functions of which something was attempted in the last days."""
    rows = Statistic.objects.using(using).filter(scope=scope).exclude(label="")
    return list(rows.order_by("label").values_list("label", flat=True).distinct()[:SUGGESTED])
