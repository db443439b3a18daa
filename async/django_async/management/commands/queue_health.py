"""``manage.py queue_health``: the state of the queue as JSON."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from django_async.api import health
from django_async.stats import estimate_queue_completion, estimate_rough_queue_completion

ALGORITHMS = {"rough": estimate_rough_queue_completion, "precise": estimate_queue_completion}


class Command(BaseCommand):
    help = "Prints the state of the queue as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--algorithm",
            "-a",
            choices=sorted(ALGORITHMS),
            default="precise",
            help="how the time until the queue is empty is estimated (default: precise)",
        )

    def handle(self, **options: Any) -> None:
        state = health(ALGORITHMS[options["algorithm"]])
        self.stdout.write(json.dumps(state, cls=DjangoJSONEncoder, indent=2))
