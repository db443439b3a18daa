"""``manage.py cancel``: take jobs out of the queue, running ones too."""

from __future__ import annotations

from django_async import many
from django_async.management.changing import ChangingCommand


class Command(ChangingCommand):
    help = (
        "Cancels jobs. Those that run are interrupted by their parents, and what they did is rolled"
        " back; one may end by itself before that."
    )
    verb = "Cancel"
    change = staticmethod(many.cancel)
