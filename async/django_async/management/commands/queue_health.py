"""``manage.py queue_health``: the state of the queue as JSON, or whether it is well."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from django_async import liveness
from django_async.api import health
from django_async.management import databases
from django_async.probe import ailment
from django_async.stats import estimate_queue_completion, estimate_rough_queue_completion

ALGORITHMS = {"rough": estimate_rough_queue_completion, "precise": estimate_queue_completion}


class Command(BaseCommand):
    help = "Prints the state of the queue as JSON; with --probe, says whether it is well."
    # They may ask another database, which is away.
    requires_system_checks = []  # noqa: RUF012 - Django's idiom

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--algorithm",
            "-a",
            choices=sorted(ALGORITHMS),
            default="precise",
            help="how the time until the queue is empty is estimated (default: precise)",
        )
        parser.add_argument(
            "--probe",
            action="store_true",
            help="print nothing but what is wrong, and exit with 1 then",
        )
        parser.add_argument(
            "--max-age",
            type=_seconds,
            metavar="SECONDS",
            help="with --probe: how long a due job may wait",
        )
        parser.add_argument(
            "--here",
            action="store_true",
            help="with --probe: a flush_queue on another host does not count",
        )
        databases.add_to(parser)

    def handle(self, **options: Any) -> None:
        using = databases.chosen(options["database"])
        if options["probe"]:
            self._probe(using, options)
        elif options["max_age"] is not None or options["here"]:
            raise CommandError("--max-age and --here go with --probe.")
        else:
            state = health(ALGORITHMS[options["algorithm"]], using=using)
            self.stdout.write(json.dumps(state, cls=DjangoJSONEncoder, indent=2))

    def _probe(self, using: str, options: dict[str, Any]) -> None:
        host = liveness.host() if options["here"] else None
        if wrong := ailment(using, options["max_age"], host):
            raise CommandError(wrong, returncode=1)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number
