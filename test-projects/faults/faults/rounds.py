"""The chosen scenarios on one database, in a process of their own: ``python -m faults.rounds``."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import django

from faults.report import FAILED, NOT_RUN, PASSED, Result
from faults.scale import Figures, NotHere, Scale, Violation
from faults.scenario import Scenario, scenarios

if TYPE_CHECKING:
    from faults.world import World

SLACK = 60.0
"""Seconds more a scenario gets for each minute of the long form."""


def main() -> None:
    """Run what standard input asks for, and write the results where it says."""
    order: dict[str, Any] = json.load(sys.stdin)
    django.setup()
    from faults.world import world  # models need Django's apps to be ready

    with world() as here:
        names = order["scenarios"] or scenarios()
        applying = (one for one in scenarios().values() if here.database in one.databases)
        chosen = [one for one in applying if one.name in names]
        with Path(order["results"]).open("w", buffering=1) as results:
            for one in chosen:
                result = attempt(one, here, Scale(order["minutes"]), order["seed"])
                print(result.line(), flush=True)
                print(json.dumps(asdict(result)), file=results)


def attempt(one: Scenario, here: World, scale: Scale, seed: int) -> Result:
    """Run a scenario, check what holds after every one, and clear away; what came of it."""
    began = time.monotonic()
    figures: Figures = {}
    outcome, problem = PASSED, ""
    try:
        with limit(one.limit + SLACK * scale.minutes):
            here.empty()
            figures |= one.run(here, scale, Random(f"{seed} {one.name} {here.database}"))
            here.check()
        if scale.missed:
            outcome, problem = FAILED, "\n".join(scale.missed)
    except NotHere as reason:
        outcome, problem = NOT_RUN, str(reason)
    except Violation as violation:
        outcome, problem = FAILED, str(violation)
    except Exception:  # noqa: BLE001 - a scenario that cannot go on is one that failed
        outcome, problem = FAILED, traceback.format_exc()
    here.clear_away()
    seconds = round(time.monotonic() - began, 1)
    return Result(one.name, here.database, outcome, seconds, figures, problem)


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Within the block, raise a Violation when the time is up; where a call into C does not let
    Python's handler run, end the process a little later."""

    def give_up(*_: object) -> None:
        raise Violation(f"it hangs: {seconds:g} s were enough")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(seconds + 10, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "faults.settings"
    main()
