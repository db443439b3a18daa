"""``manage.py retry``: have jobs run now, whatever has become of them."""

from __future__ import annotations

from django_async import many
from django_async.management.changing import ChangingCommand


class Command(ChangingCommand):
    help = (
        "Has jobs run now that wait, have failed, or were cancelled or discarded. Their attempts"
        " and errors are kept. Executed and running ones are left alone."
    )
    verb = "Retry"
    change = staticmethod(many.retry)
