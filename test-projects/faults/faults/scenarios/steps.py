"""Death at each step of an attempt."""

from __future__ import annotations

from random import Random

from django_async.models import Error
from faults import injection, jobs
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.world import World

DEATHS = 2
"""Of workers at each step. After three in a row that had not started, the pool would give up."""


@scenario(2, "steps")
def die_at_each_step(world: World, scale: Scale, rng: Random) -> Figures:
    """Workers are killed at each step of an attempt, from the handshake to the commit hook."""
    missing = {
        "sqlite": "half-way through a note",
        "postgres": "after the mark",
        "mysql": "after the mark",
    }
    steps = [step for step in injection.STEPS if step != missing.get(world.database)]
    # All steps together say that something is wrong; each alone, with which.
    rounds = [steps, *[[step] for step in steps] * scale.count(0, 10)]
    for some in rounds:
        _drain_with_deaths(world, some, scale.count(40, 200))
    deaths = [step for some in rounds for step in some] * DEATHS
    errors, expected = Error.objects.count(), sum(step in injection.UNDOING for step in deaths)
    if errors != expected:
        raise Violation(f"{errors} errors of jobs, where {expected} attempts were undone")
    return {"steps": len(steps), "deaths": len(deaths), "errors": errors}


def _drain_with_deaths(world: World, steps: list[str], number: int) -> None:
    """Drain jobs while some workers die at each of the steps."""
    world.schedule(jobs.pass_all_steps, [[index] for index in range(number)])
    for step in steps:
        injection.arm(step, DEATHS)
    with world.flush() as flush:
        flush.end(0, 1)
    if missed := [step for step in steps if injection.left(step)]:
        raise Violation(f"nobody died {', '.join(missed)}")
    world.drain()
