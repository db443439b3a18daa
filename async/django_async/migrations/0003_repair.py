"""Make the rows of 0.7.3 true before constraints hold them to it.

A migration of its own: PostgreSQL cannot alter a table whose rows were changed in the transaction.
"""

from __future__ import annotations

from typing import Any

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, Exists, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from django_async import payload
from django_async.utils import canonical

CHUNK = 1000


def repair(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    using = schema_editor.connection.alias
    job, group, error = (apps.get_model("async", name) for name in ("Job", "Group", "Error"))
    jobs = job._default_manager.using(using)
    errors = error._default_manager.using(using)
    give_up_never_executed(jobs, errors)
    jobs.exclude(executed=None).exclude(cancelled=None).update(cancelled=None)
    jobs.exclude(executed=None).filter(started=None).update(started=F("executed"))
    count_attempts(jobs, errors)
    rename(jobs)
    hold_references(group._default_manager.using(using))


def give_up_never_executed(jobs: QuerySet[Any], errors: QuerySet[Any]) -> None:
    """A job whose result was no JSON was marked executed although all of its effects had been
    rolled
    back: it has an Error, no start and no result. It did not happen, and was never tried again."""
    failed = errors.filter(job=OuterRef("pk"))
    never = jobs.filter(Exists(failed), started=None, result="").exclude(executed=None)
    for start in iter(lambda: list(never.values_list("pk", flat=True)[:CHUNK]), []):
        jobs.filter(pk__in=start).update(discarded=F("executed"), executed=None, cancelled=None)


def count_attempts(jobs: QuerySet[Any], errors: QuerySet[Any]) -> None:
    """An attempt that failed left an Error; the one that succeeded left the mark."""
    counted = errors.filter(job=OuterRef("pk")).order_by().values("job").annotate(n=Count("pk"))
    failed = Coalesce(Subquery(counted.values("n")), 0)
    jobs.filter(executed=None).update(attempts=failed)
    jobs.exclude(executed=None).update(attempts=failed + 1)


def rename(jobs: QuerySet[Any]) -> None:
    """0.7.3's own functions moved from ``async`` to ``django_async``; and what is pending gets the
    identity that ``deschedule`` looks for, which Python 2 wrote with ``u''`` in it."""
    moved = jobs.filter(name__startswith="async.")
    pending = jobs.filter(executed=None, cancelled=None, discarded=None)
    for row in (moved | pending).only("name", "args", "kwargs").iterator(CHUNK):
        name = canonical(row.name)
        jobs.filter(pk=row.pk).update(name=name, identity=_identity(name, row))


def hold_references(groups: QuerySet[Any]) -> None:
    """The newest group of a reference holds it; 0.7.3 could have several open ones. Which
    references are equal is for the database to say: MySQL's collations ignore case and more."""
    newest_first = groups.order_by("-created", "-pk").values_list("pk", "reference")
    for pk, reference in list(newest_first):
        if not groups.filter(open_reference=reference).exists():
            groups.filter(pk=pk).update(open_reference=reference)


def _identity(name: str, row: Any) -> str:
    try:
        return payload.identity(name, row.args, row.kwargs)
    except payload.UNREADABLE:
        return str(row.identity)


class Migration(migrations.Migration):
    dependencies = [("async", "0002_wider")]

    operations = [migrations.RunPython(repair, migrations.RunPython.noop, elidable=False)]
