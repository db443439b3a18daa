"""The end of sessions, by an operator's hand."""

from __future__ import annotations

import time
from random import Random

from django.db import OperationalError, connection

from django_async.models import Error, Job
from faults import ledger, probes, work
from faults.processes import Flush
from faults.progress import must_have_gone_on, wait_for_starts
from faults.scale import Figures, Scale
from faults.scenario import SERVERS, scenario
from faults.world import World

SESSIONS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = CURRENT_DATABASE()"
    " AND pid <> PG_BACKEND_PID() AND backend_type = 'client backend'",
    "mysql": "SELECT id FROM information_schema.processlist"
    " WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
END = {"postgresql": "SELECT PG_TERMINATE_BACKEND(%s)", "mysql": "KILL %s"}
NO_SUCH_THREAD = 1094


@scenario(7, "sessions-ended", SERVERS)
def end_sessions(world: World, scale: Scale, rng: Random) -> Figures:
    """Sessions are ended at random moments of a drain, the parent's among them."""
    ended = 0
    world.schedule(work.converse, [[number, 5] for number in range(scale.count(400, 20_000))])
    wanted = scale.count(60, 3000)
    while ended < wanted and Job.objects.pending().exists():
        ledger.bring_forward()
        with world.flush() as flush:
            wait_for_starts(flush, 1)
            ended += _end_at_random(flush, rng, wanted - ended)
            flush.end(0, 1)
        must_have_gone_on(flush)
    errors = Error.objects.count()
    world.drain()
    return {"sessions ended": ended, "attempts failed": errors}


def _end_at_random(flush: Flush, rng: Random, most: int) -> int:
    """End one session after the other, while the flush runs; how many."""
    ended = 0
    while ended < most and not flush.ended:
        sessions = [row[0] for row in probes.ask(SESSIONS[connection.vendor])]
        if sessions:
            ended += _end(rng.choice(sessions))
        time.sleep(rng.uniform(0.0, 0.03))
    return ended


def _end(session: int) -> bool:
    """End a session; whether it was still there."""
    try:
        answer = probes.ask(END[connection.vendor], session)
    except OperationalError as error:
        if error.args[0] != NO_SUCH_THREAD:
            raise
        return False
    return bool(answer[0][0]) if answer else True
