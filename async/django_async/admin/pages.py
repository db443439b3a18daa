"""Pages of a list that may have a million rows, of which no more than a bound are counted.

Django's own paginator counts all of them for each page. This one counts, and leads to, the first
10,000; of more it says ``10,000+``. An action on all of the list is still done to all of it, for
Django gives it the whole query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property

from django_async.admin import wording

if TYPE_CHECKING:
    Base = Paginator[Any]
else:
    Base = Paginator

COUNTED = 10_000
"""Rows that are counted, and that pages lead to."""


class MoreThan(int):
    """A number to which to count on, but to people the sign of more: ``10,000+``.

    It is an integer because Django's admin compares it, and chooses the form of a noun by it. So
    what groups digits would take it for a plain one: templates/admin/async/pagination.html.
    """

    def __str__(self) -> str:
        return f"{wording.count(int(self))}+"


class BoundedPaginator(Base):
    """For ``ModelAdmin.paginator``, together with ``show_full_result_count = False``."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, or that they are more than are counted."""
        rows: Any = self.object_list
        number: int = rows.order_by().values("pk")[: COUNTED + 1].count()
        return number if number <= COUNTED else MoreThan(COUNTED)
