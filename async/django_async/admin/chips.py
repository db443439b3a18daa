"""The state of a job in a word, a mark and a colour: none of the three says it alone."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from django_async.models import Job

WORDS = {
    "due": ("\N{BLACK CIRCLE}", _("due")),
    "scheduled": ("\N{WHITE CIRCLE}", _("scheduled")),
    "running": ("\N{BLACK RIGHT-POINTING TRIANGLE}\N{VARIATION SELECTOR-15}", _("running")),
    "failing": ("!", _("failing")),
    "discarded": ("\N{MULTIPLICATION SIGN}", _("discarded")),
    "executed": ("\N{CHECK MARK}\N{VARIATION SELECTOR-15}", _("executed")),
    "cancelled": ("\N{EN DASH}", _("cancelled")),
}


def state_of(job: Job, *, runs: bool) -> str:
    """The state as the pages call it; what runs in a transaction looks as if it waited."""
    if runs and not (job.executed or job.cancelled or job.discarded):
        return "running"
    return {"failed": "failing"}.get(job.state, job.state)


def chip(state: str) -> SafeString:
    """As it is shown."""
    mark, word = WORDS[state]
    html = '<span class="async-chip async-{}"><span aria-hidden="true">{}</span> {}</span>'
    return format_html(html, state, mark, word)
