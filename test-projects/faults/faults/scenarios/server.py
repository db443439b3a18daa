"""The death and the absence of the database server, which is the suite's own."""

from __future__ import annotations

import time
from random import Random

from django.db import connection

from django_async.models import Error
from faults import jobs
from faults.elsewhere import on_private_server
from faults.processes import cpu_seconds
from faults.progress import must_have_gone_on, wait_for_starts
from faults.scale import Figures, Scale, Violation, spread
from faults.scenario import SERVERS, scenario
from faults.servers import Server
from faults.world import World

GONE, BACK = "The database is away", "The database is back"
"""What a parent says of the server, once for each change."""


@scenario(8, "server-restarted", SERVERS, limit=180.0)
def restart_server(world: World, scale: Scale, rng: Random) -> Figures:
    """The server crashes and restarts again and again, and is away for a while."""
    with on_private_server(world) as server:
        failed = _crash_repeatedly(world, server, scale, rng)
        world.drain()
        figures = _stay_away(world, server, scale)
        world.drain()
    return {"attempts that crashes ended": failed, **figures}


def _crash_repeatedly(world: World, server: Server, scale: Scale, rng: Random) -> int:
    """Crash the server in the middle of one drain, so often; how many attempts that cost."""
    crashes = scale.count(2, 200)
    world.schedule(jobs.sleep, [[number, 0.02] for number in range(80 * crashes)])
    with world.flush() as flush:
        for _ in range(crashes):
            wait_for_starts(flush, 20)
            time.sleep(rng.uniform(0.0, 0.05))
            server.restart(immediate=True)
        flush.end(0, 1)
    connection.close()  # this process has lost its sessions too
    must_have_gone_on(flush)
    return Error.objects.count()


def _stay_away(world: World, server: Server, scale: Scale) -> Figures:
    """Stop the server for a while, again and again: what the parent does, and when it goes on."""
    returns, efforts = [], []
    away = scale.count(2, 30)
    for _ in range(scale.count(1, 10)):
        world.schedule(jobs.sleep, [[number, 0.05] for number in range(100)])
        with world.flush() as flush:
            wait_for_starts(flush, 20)
            server.stop()
            before = cpu_seconds(flush.pid)
            time.sleep(away)
            efforts.append((cpu_seconds(flush.pid) - before) / away)
            server.start()
            returns.append(wait_for_starts(flush, 1))
            flush.end(0, 1)
        connection.close()
        must_have_gone_on(flush)
        _must_be_said_once(flush.output)
    scale.judge("the first job after the return, s", max(returns), goal=2.0, bound=4.0)
    scale.judge("the parent's share of a CPU while away", max(efforts), goal=0.05, bound=0.2)
    return {
        **spread("first job after the return", returns),
        "CPU of the parent while away %": round(max(efforts) * 100, 1),
    }


def _must_be_said_once(output: str) -> None:
    said = output.count(GONE), output.count(BACK)
    if said != (1, 1):
        raise Violation(
            f"'{GONE}' and '{BACK}' were said {said} times, not once:\n{output[-3000:]}"
        )
