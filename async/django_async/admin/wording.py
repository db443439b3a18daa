"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_async.overview import Number
from django_async.payload import printable

NOTHING = "\N{EN DASH}"

LONGEST_NAME = 120
"""Characters of a name that are shown."""

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def count(value: int) -> str:
    """With the separators of the language."""
    return number_format(value, force_grouping=True)


def decimal(value: float, places: int) -> str:
    """Rounded, with the point of the language. (Django cuts off what is too much.)"""
    return number_format(round(value, places), places, force_grouping=True)


def number(found: Number) -> str:
    """The same, saying what is not exact."""
    text = count(found.value)
    if found.is_more:
        return _("more than %s") % text
    return _("about %s") % text if found.is_about else text


def duration(seconds: float | None) -> str:
    """In the two largest units that matter: 3 ms, 2.4 s, 5 min 3 s, 3 h 20 min, 2 d 4 h."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{decimal(max(0.0, seconds) * 1000, 0)} ms"
    if seconds < 59.95:
        return f"{decimal(seconds, 1 if seconds < 9.95 else 0)} s"
    whole = round(seconds)
    for place, (unit, size) in enumerate(UNITS):
        if whole >= size:
            lower, lower_size = UNITS[place + 1]
            rest = whole % size // lower_size
            large = f"{count(whole // size)} {unit}"
            return f"{large} {rest} {lower}" if rest else large
    return f"{whole} s"


def share(part: int, whole: int) -> str:
    """In percent, with a decimal where it is small."""
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    return f"{decimal(percent, 1 if 0 < percent < 9.95 else 0)} %"


def moment(at: datetime) -> SafeString:
    """To the second, and without a year that is this one."""
    here = _here(at)
    form = "j M, H:i:s" if here.year == _here(timezone.now()).year else "j M Y, H:i:s"
    return format_html('<time datetime="{}">{}</time>', here.isoformat(), date_format(here, form))


def _here(at: datetime) -> datetime:
    return timezone.localtime(at) if timezone.is_aware(at) else at


def lines(text: str) -> str:
    """On as many lines as it has, all of it; the same marks are shown as such."""
    return "\n".join(map(printable, text.splitlines()))


def short(name: str) -> str:
    """On one line, and not endless; marks of direction and control characters are shown as such."""
    text = printable(name[: LONGEST_NAME + 1])
    return text if len(name) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"
