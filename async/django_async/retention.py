"""Deleting what ended long ago, in batches that hold up nothing.

It is a walk: over the jobs without a group, in the order in which they ended, and then over the
groups. Each step begins behind the last row of the one before. So what is passed over is not met
again in the same walk: what somebody has locked, and what cannot be deleted, since a row of the
application's holds on to it or its code that is to hear of it fails.

A group goes if all of its jobs ended long ago, its members a batch at a time. What is left of it in
between is a smaller group that ended long ago, which the next walk takes up wherever this one broke
off. Its row goes in the transaction of the last member: without any it would be a group that waits
for its first. So does its final job, which would otherwise be missing from the group if somebody
retries a member. Whoever deletes from a group has locked its row: two who each see the other's last
members would both leave it there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from django.db import Error as DriverError
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from django_async import clock, trouble
from django_async.locks import lock_all, lock_rows
from django_async.models import Group, Job
from django_async.turn import take_turn

logger = logging.getLogger(__name__)

BATCH = 200
"""Jobs that are deleted together."""

STATES = ("executed", "cancelled", "discarded")

BY_TRIGGERS = ("P0001", 1644)
"""How PostgreSQL, and MariaDB and MySQL, number what a trigger says, whatever the driver takes it
for."""


class Place(NamedTuple):
    """Where a walk is: in which of its parts, one for each of STATES and the last for groups, and
    the key of the last row there; None before the first."""

    part: int = 0
    after: tuple[Any, Any] | None = None


START = Place()


class Refusal(NamedTuple):
    """Why a job cannot be deleted."""

    job_id: int
    reason: str


class Refused(Exception):
    """One of these jobs, or more, cannot be deleted, for this reason."""


class Step(NamedTuple):
    """Where the walk goes on, None at its end; and what could not be deleted in this step."""

    place: Place | None
    refusals: list[Refusal]


class Page(NamedTuple):
    """Some of what ended long ago: the ids of jobs, the groups that these may belong to, and the
    key behind which there may be more, or None."""

    ids: list[int]
    groups: list[int]
    after: tuple[Any, Any] | None


def remove_before(moment: datetime, using: str) -> None:
    """Delete the jobs without a group that ended before the moment, and the groups all of whose
    jobs did. A group without jobs stays: somebody may be about to fill it."""
    refusals = list[Refusal]()
    place: Place | None = START
    while place is not None:
        place, more = _step(place, moment, using, BATCH)
        refusals += more
    warn_of(refusals, using)


def remove_some(seconds: float, using: str, at_most: int, place: Place = START) -> Step:
    """Go one step from this place: delete so many of the jobs that ended longer ago than so many
    seconds, by the database's clock. After a conflict, the step is still to be made."""
    moment = clock.as_field_value(clock.utc_now(using) - timedelta(seconds=seconds))
    try:
        return _step(place, moment, using, at_most)
    except DriverError as error:
        if trouble.is_conflict(error, using):
            return Step(place, [])
        raise


def warn_of(refusals: list[Refusal], using: str) -> None:
    """Tell the operator, once for all of these, what is kept against the retention."""
    if refusals:
        job_id, reason = refusals[0]
        logger.warning(
            "%s jobs on %r that ended long ago cannot be deleted, and are passed over. Job %s: %s",
            len(refusals),
            using,
            job_id,
            reason,
        )


def _step(place: Place, moment: datetime, using: str, number: int) -> Step:
    if place.part < len(STATES):
        page = _free_jobs(STATES[place.part], place.after, moment, using, number)
    else:
        page = _members(place.after, moment, using, number)

    refusals = _delete_what_goes(
        page.ids, partial(_delete, groups=page.groups, moment=moment, using=using)
    )
    if page.after is not None:
        return Step(Place(place.part, page.after), refusals)
    return Step(Place(place.part + 1) if place.part < len(STATES) else None, refusals)


def _free_jobs(
    state: str, after: tuple[Any, Any] | None, moment: datetime, using: str, number: int
) -> Page:
    """Jobs without a group that came to this end before the moment."""
    old = Job.objects.using(using).filter(Q(**{f"{state}__lt": moment}), group=None)
    if after:  # many may have ended at the same moment, as those of one bulk update have
        when, pk = after
        same = Q(**{state: when}, pk__gt=pk)
        old = old.filter(same | Q(**{f"{state}__gt": when}), **{f"{state}__gte": when})
    rows = list(old.order_by(state, "pk").values_list(state, "pk")[:number])
    return Page([pk for _, pk in rows], [], rows[-1] if len(rows) == number else None)


def _members(after: tuple[Any, Any] | None, moment: datetime, using: str, number: int) -> Page:
    """Jobs of groups that ended before the moment: of each group the final one last.

    Small groups are read many at once. A large one is read alone, or else all members of more of
    its kind would be looked at for a few: so the first read is of one group, and the next of twice
    as many.
    """
    ids, groups, window = list[int](), list[int](), 1
    after = after or (0, 0)
    while len(ids) < number:
        old = _old_groups(moment, using).filter(pk__gte=after[0]).order_by("pk")
        finals = dict(old.values_list("pk", "final")[:window])
        if not finals:
            return Page(ids, groups, None)
        others = list(_others(finals, after, using)[: number - len(ids)])
        is_full = len(others) == number - len(ids)
        after = others[-1] if is_full else (max(finals) + 1, 0)
        ids += [job for _, job in others]
        ids += [final for group, final in finals.items() if final and group < after[0]]
        groups += [group for group in finals if group <= after[0]]
        window *= 2
    return Page(ids, groups, after)


def _others(
    finals: Mapping[int, int | None], after: tuple[int, int], using: str
) -> QuerySet[Job, tuple[int, int]]:
    """The jobs of these groups, but for the final ones, behind this key: group and id of each."""
    jobs = Job.objects.using(using).filter(group__in=list(finals))
    jobs = jobs.exclude(pk__in=[final for final in finals.values() if final])
    behind = jobs.exclude(group=after[0], pk__lte=after[1])
    return behind.order_by("group", "pk").values_list("group", "pk")


def _old_groups(moment: datetime, using: str) -> QuerySet[Group]:
    """The groups that have jobs, all of which ended before the moment. (Looked up as values, for
    each group by its index: EXISTS may become a join with all jobs, see pending.py.)"""
    members = Job.objects.using(using).filter(group=OuterRef("pk")).values("pk")
    young = members.exclude(_ended_before(moment))
    groups = Group.objects.using(using).alias(
        member=Subquery(members[:1]), young=Subquery(young[:1])
    )
    return groups.filter(member__isnull=False, young=None)


def _ended_before(moment: datetime) -> Q:
    return Q(executed__lt=moment) | Q(cancelled__lt=moment) | Q(discarded__lt=moment)


def _delete_what_goes(ids: list[int], delete: Callable[[list[int]], None]) -> list[Refusal]:
    """Delete the jobs, in halves of halves where not all of them go; which ones do not."""
    if not ids:
        return []
    try:
        delete(ids)
    except Refused as refused:
        if len(ids) == 1:
            return [Refusal(ids[0], str(refused))]
        half = len(ids) // 2
        return _delete_what_goes(ids[:half], delete) + _delete_what_goes(ids[half:], delete)
    return []


def _delete(ids: list[int], groups: list[int], moment: datetime, using: str) -> None:
    """Delete them in a transaction. What the commit's hooks raise is no refusal: they are gone."""
    committed = list[bool]()
    try:
        with transaction.atomic(using=using):
            transaction.on_commit(partial(committed.append, True), using=using)
            take_turn(using)
            _delete_rows(ids, groups, moment, using)
            _check(using)
    except Exception as error:
        if committed or not _is_refusal(error):
            raise
        raise Refused(_reason(error)) from error


def _is_refusal(error: Exception) -> bool:
    """Whether it is about what was to be deleted, and not about the database: what a foreign key
    says that protects a row, in Django or in the database; a trigger; a receiver of a signal."""
    if not isinstance(error, DriverError) or trouble.error_number(error) in BY_TRIGGERS:
        return True
    is_of_no_use = trouble.has_no_tables(error) or trouble.is_read_only(error)
    return not (is_of_no_use or isinstance(error, OperationalError | InterfaceError))


def _reason(error: Exception) -> str:
    """The database's without MariaDB's number, and without the rows that Django found to be in the
    way."""
    if not isinstance(error, DriverError):
        return repr(error)
    return next((part for part in error.args if isinstance(part, str)), repr(error))


def _delete_rows(ids: list[int], groups: list[int], moment: datetime, using: str) -> None:
    """Delete the jobs, and those of the groups of which nothing is left; but for what somebody has
    locked, or which has been retried since it was looked at."""
    mine = lock_rows(Group.objects.using(using).filter(pk__in=groups))
    old = dict(_old_groups(moment, using).filter(pk__in=mine).values_list("pk", "final"))
    locked = lock_all(ids, using, wait=False, where=_ended_before(moment))
    free = [one for some in locked for one in some]
    jobs = Job.objects.using(using)
    go = jobs.filter(Q(group=None) | Q(group__in=list(old)), pk__in=free)
    go.exclude(pk__in=[final for final in old.values() if final]).delete()
    rest = jobs.filter(group=OuterRef("pk")).exclude(pk__in=free)
    Group.objects.using(using).filter(~Exists(rest), pk__in=list(old)).delete()


def _check(using: str) -> None:
    """Have PostgreSQL say now, and not at the commit, what a deferred constraint has against it:
    that may be the commit of a job that does much else."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        connection.check_constraints()
