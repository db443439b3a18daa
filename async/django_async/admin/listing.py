"""The list of jobs, of which a page costs the same however many there are.

What an index has in order is paged through. For the rest, the jobs to be shown are looked for first
(see lookup.py), and the page says how far. An action is about all that its filters mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import reduce
from operator import and_
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from django_async import lookup
from django_async.admin.filters import DayFilter, GroupFilter, JobFilter, ReferenceFilter
from django_async.lookup import Found, Part
from django_async.models import HANDED_OUT, Job


class JobList(ChangeList):
    """What one address of the list shows.

    Attributes:
        found: what was found where no index has it in order, else None.
        running: the ids of all jobs that run, or None if nobody can tell.
    """

    found: Found | None = None
    running: Collection[int] | None

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Job]:
        everything = super().get_queryset(request, *args, **kwargs)
        if request.method == "POST" or self._is_in_order:
            return everything
        self.found = lookup.find(self._parts(), self._condition())
        shown = self.root_queryset.filter(pk__in=self.found.ids)
        return self.apply_select_related(shown).order_by(*self._order)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.running = lookup.running(Job.objects.db)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Job]) -> list[Any]:
        """The one of the state: any other would sort all jobs."""
        return self._order

    @property
    def looked_at(self) -> int:
        """Jobs of each part that are looked at."""
        return lookup.LOOKED_AT

    @property
    def _chosen(self) -> list[JobFilter]:
        return [one for one in self.filter_specs if isinstance(one, JobFilter) and one.chosen]

    @property
    def _state(self) -> str:
        return str(self.params.get("state", ""))

    @property
    def _group(self) -> JobFilter | None:
        """The filter by which a group is chosen, if there is one."""
        kinds = GroupFilter | ReferenceFilter
        return next((one for one in self._chosen if isinstance(one, kinds)), None)

    @property
    def _days(self) -> DayFilter | None:
        return next((one for one in self._chosen if isinstance(one, DayFilter)), None)

    @property
    def _is_in_order(self) -> bool:
        """Whether an index has what is chosen, and in this order."""
        is_indexed = all(one.is_indexed for one in self._chosen) and not self.query
        return is_indexed and not (self._group and len(self._chosen) > 1)

    @property
    def _order(self) -> list[Any]:
        if self._days or self._state in lookup.ENDED:
            return [f"-{self._days.column if self._days else self._state}", "-pk"]
        return ["-pk"] if self._state in ("", "running") else list(HANDED_OUT)

    def _condition(self) -> Q:
        """All that is chosen, and the words."""
        conditions = [one.condition() for one in self._chosen]
        return reduce(and_, [*conditions, *([sought(self.query)] if self.query else [])])

    def _parts(self) -> Iterator[Part]:
        """Where to look."""
        jobs = Job.objects.order_by("-pk")
        if self.query and (named := lookup.named(self.query)):
            yield [jobs.filter(named)]
        if self._group:
            yield [jobs.filter(self._group.condition())]
        elif self._days:
            yield [lookup.ended(self._days.column, jobs.db).filter(self._days.condition())]
        else:
            yield from lookup.parts(self._state, jobs.db)


def sought(text: str) -> Q:
    """The jobs that are named so, or mention it."""
    return (lookup.named(text) or Q()) | lookup.mentions(text)
