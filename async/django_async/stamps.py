"""The stamps that parents put on jobs: see parents.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction

from django_async import plans, policy
from django_async.hints import SUSPECTED, Hint
from django_async.locks import lock, lock_all
from django_async.models import Job, Parent
from django_async.pending import BY_KEY, BY_KEY_SQL
from django_async.turn import take_turn


@dataclass(frozen=True, slots=True)
class Batch:
    """What a parent has in hand, by its own word."""

    handed_out: list[tuple[int, int]]
    """The id and the attempts of each job, in the order of their hand-out."""
    foreseen: range = range(0)
    """Ids of jobs that it may have been told of since, none of which was attempted before."""

    def dump(self) -> str:
        """As the parent's row has it: what is foreseen as the first id, and how many there are."""
        foreseen = [[self.foreseen.start, 0, len(self.foreseen)]] if self.foreseen else []
        return json.dumps([*self.handed_out, *foreseen])

    @classmethod
    def load(cls, text: str) -> Batch:
        """The other way round."""
        entries = json.loads(text)
        ranges = [range(one[0], one[0] + one[2]) for one in entries if len(one) > 2]
        return cls([(one[0], one[1]) for one in entries if len(one) == 2], *ranges)

    @property
    def attempts(self) -> dict[int, int]:
        """How often each job was attempted before, by its id."""
        return dict.fromkeys(self.foreseen, 0) | dict(self.handed_out)


def parents(using: str) -> dict[str, str]:
    """The processes of all parents by their tokens, in the order in which they became known."""
    sql = "SELECT token, process FROM async_parent ORDER BY id"
    return dict(plans.ask(sql, [], connections[using]))


def stamp_alone(hint: Hint, token: str, using: str) -> bool:
    """Stamp a suspect right before its attempt, in a commit of its own; False if it is not free."""
    where = f"{BY_KEY_SQL} AND stamp IN (%s, %s)"
    return _stamp_if_free(hint, token, where, [SUSPECTED, token], using)


def unstamp(hint: Hint, token: str, using: str) -> bool:
    """The stamped attempt did not come about: the job is a suspect as before. False while somebody
    has locked the row, who might take the stamp for that of a death."""
    if _stamp_if_free(hint, SUSPECTED, "stamp = %s", [token], using):
        return True
    return not Job.objects.using(using).filter(pk=hint.id, stamp=token).exists()


def suspect(batch: Batch, most: int, using: str) -> bool:
    """Stamp those of the batch that may have been running: of those that are free and have not
    ended since, the first ones, and whatever was foreseen; a stamp that is there already says more.
    Those that run without a transaction are told from their rows. False if some are locked."""
    attempts = batch.attempts
    jobs = Job.objects.using(using).filter(BY_KEY, pk__in=attempts)
    open_ends = {
        job
        for job, tried, meta in jobs.values_list("pk", "attempts", "meta")
        if attempts[job] == tried and policy.is_atomic(meta)
    }
    free = {job for locked in lock_all(open_ends, using, wait=False) for job in locked}
    first = [job for job, _ in batch.handed_out if job in free][:most]
    suspects = [*first, *free.intersection(batch.foreseen)]
    Job.objects.using(using).filter(BY_KEY, pk__in=suspects, stamp=None).update(stamp=SUSPECTED)
    return free == open_ends


def write_batch(token: str, batch: str, using: str) -> bool:
    """Write what a parent has in hand; False if it has no row.

    PostgreSQL need not have it on disk before jobs run: it is written for the case that the parent
    dies, and not that the server does, with which every attempt ends without anybody's fault. The
    setting rides on the statement, and holds for its transaction alone.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return bool(Parent.objects.using(using).filter(token=token).update(batch=batch))
    written = plans.ask(
        "UPDATE async_parent SET batch = %s WHERE token = %s"
        " RETURNING set_config('synchronous_commit', 'off', true)",
        [batch, token],
        connection,
    )
    return bool(written)


def lock_parent(parent: int, using: str) -> bool:
    """Lock the row of a parent, unless somebody else has it, or has already struck it out."""
    take_turn(using)
    features = connections[using].features
    rows = Parent.objects.using(using).filter(pk=parent)
    if features.has_select_for_update:
        rows = rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
    return rows.first() is not None


def _stamp_if_free(hint: Hint, value: str, where: str, params: list[Any], using: str) -> bool:
    with transaction.atomic(using=using):
        if not (claimed := lock(hint, connections[using], where, params)):
            return False
        Job.objects.using(using).filter(pk=claimed.id).update(stamp=value, started=None)
        return True
