"""What forks do to connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from django.db import connections

from django_async.forking import begin_worker, close_connections, set_aside, take_up
from faults.models import Entry
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.world import World
from forkpool import Ended, ForkPool

ROWS = 100

SESSION = {"postgresql": "SELECT PG_BACKEND_PID()", "mysql": "SELECT CONNECTION_ID()"}


@scenario(13, "forks")
def fork_beside_connections(world: World, scale: Scale, rng: Random) -> Figures:
    """A process with connections open on every alias forks again and again: no read is wrong in it
    or in a child, and a child that goes ends no session but its own."""
    Entry.objects.bulk_create(Entry(job=0, pid=number, at=0.0) for number in range(ROWS))
    forks = scale.count(100, 1_000)
    reads = _Forking(list(connections), rng, close_connections).run(forks)
    if world.database != "sqlite":  # which forbids to fork beside an open file
        # As a service keeps its sessions; and an application that forks by itself and closes
        # nothing: the children must forget it. With a pool of psycopg's that takes long.
        keep = partial(set_aside, list(connections))
        reads += _Forking(list(connections), rng, keep).run(forks)
        aliases = [alias for alias in connections if scale.strict or alias != "pooled"]
        reads += _Forking(aliases, rng, None).run(forks)
    Entry.objects.all().delete()
    pool = "read" if "pooled" in connections else "not installed, or not of this database"
    return {"forks of each kind": forks, "reads": reads, "psycopg's pool": pool}


class _Forking:
    """A process that reads while its children, each of a fork of its own, read as well."""

    def __init__(
        self, aliases: Sequence[str], rng: Random, before_fork: Callable[[], object] | None
    ) -> None:
        self.aliases = aliases
        self.rng = rng
        self.before_fork = before_fork
        self.handed = self.ended = self.reads = 0

    def run(self, forks: int) -> int:
        """Fork so often; the number of reads."""
        first = sessions(self.aliases)
        with ForkPool(
            2,
            initializer=begin_worker,
            before_fork=self.before_fork,
            after_fork=take_up,
            max_tasks_per_child=1,
        ) as pool:
            while self.ended < forks:
                before = sessions(self.aliases) if self.before_fork else first
                while pool.idle and self.handed < forks:
                    pool.submit(wrong_reads, self.aliases, self.rng.randrange(ROWS))
                    self.handed += 1
                self._count(wrong_reads(self.aliases, self.rng.randrange(ROWS)))
                if sessions(self.aliases) != before:
                    raise Violation("a child has ended a session of its parent")
                self._hear(pool.wait())
        return self.reads

    def _hear(self, ended: Sequence[Ended]) -> None:
        for end in ended:
            if end.error:
                raise end.error
            self._count(end.value)
            self.ended += 1

    def _count(self, wrong: int) -> None:
        self.reads += len(self.aliases)
        if wrong:
            raise Violation(f"{wrong} of {len(self.aliases)} reads gave somebody else's row")


def wrong_reads(aliases: Sequence[str], number: int) -> int:
    """Read a row through each alias; how often something else came."""
    found = (Entry.objects.using(alias).filter(pid=number) for alias in aliases)
    return sum([row.pid for row in rows] != [number] for rows in found)


def sessions(aliases: Sequence[str]) -> list[object]:
    """What the server calls the sessions of this process; of a pool, any will do."""
    return [_session(alias) for alias in aliases if alias != "pooled"]


def _session(alias: str) -> object:
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(SESSION.get(connection.vendor, "SELECT 0"))
        return cursor.fetchone()
