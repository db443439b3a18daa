"""The condition *pending*, spelled once for each index that holds pending jobs only.

PostgreSQL may read the whole of a partial index whose condition a query implies, instead of looking
up one key in another index: if its statistics are from a moment when few jobs were pending, the one
looks as cheap as the other. In a queue they often are, and each claim then read the whole backlog.
PostgreSQL matches a condition by its form. So each partial index has a form of its own, and a query
names the index that it means by the form that it uses.

==============  ======================================================  ==========================
form            as SQL                                                  index
==============  ======================================================  ==========================
``IN_ORDER``    ``executed IS NULL AND cancelled IS NULL AND …``        ``async_job_to_fetch``
``IN_GROUP``    ``COALESCE(executed, cancelled, discarded) IS NULL``    ``async_job_group_open``
``BY_CALL``     ``COALESCE(cancelled, discarded, executed) IS NULL``    ``async_job_to_deschedule``
``BY_KEY``      ``COALESCE(discarded, executed, cancelled) IS NULL``    none but the primary key
==============  ======================================================  ==========================

MariaDB and MySQL have no partial indexes. There a stored column, ``pending``, is 1 or NULL, and
stands at the head of the indexes.
"""

from __future__ import annotations

from django.db.models import Q
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull

IN_ORDER = Q(executed=None, cancelled=None, discarded=None)
IN_GROUP = IsNull(Coalesce("executed", "cancelled", "discarded"), True)
BY_CALL = IsNull(Coalesce("cancelled", "discarded", "executed"), True)
BY_KEY = IsNull(Coalesce("discarded", "executed", "cancelled"), True)

BY_KEY_SQL = "COALESCE(discarded, executed, cancelled) IS NULL"


def in_order_sql(vendor: str) -> str:
    """IN_ORDER as SQL."""
    if vendor == "mysql":
        return "pending = 1"
    return "executed IS NULL AND cancelled IS NULL AND discarded IS NULL"


def in_order_table(vendor: str) -> str:
    """The table, to be read through the index of IN_ORDER and no other.

    By statistics from a moment when nearly all jobs waited, the primary key looks as good for those
    without a time, which come by their id: all that are done would be read. (PostgreSQL does not
    fall for it, as it is asked for them in the index's own order.)
    """
    hint = {"mysql": "FORCE INDEX (async_job_to_fetch)", "sqlite": "INDEXED BY async_job_to_fetch"}
    return f"async_job {hint.get(vendor, '')}".rstrip()


def in_group_sql(vendor: str, job: str) -> str:
    """IN_GROUP as SQL, for the table or alias ``job``."""
    if vendor == "mysql":
        return f"{job}.pending = 1"
    return f"COALESCE({job}.executed, {job}.cancelled, {job}.discarded) IS NULL"


def waits_for_sql(vendor: str, job_id: str) -> str:
    """The groups whose final job this is, and which have others that are pending.

    Of each group the first such member, as a value: of a join, and of EXISTS, which it makes one,
    PostgreSQL may read all members of all groups for each job, by statistics from a moment when
    there were few.
    """
    member = f"m.id <> {job_id} AND {in_group_sql(vendor, 'm')}"
    return (
        f"SELECT 1 FROM async_group g WHERE g.final_id = {job_id}"
        f" AND (SELECT 1 FROM async_job m WHERE m.group_id = g.id AND {member} LIMIT 1) = 1"
    )
