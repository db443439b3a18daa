"""The indexes that the queue lives on.

They hold pending jobs only, so that they stay as small as the backlog however many jobs are done.
MariaDB and MySQL have no partial indexes: a stored column that is 1 while a job is pending and NULL
afterwards takes the condition's place there.

On SQLite, Django rebuilds a table to alter it and makes anew only the indexes that it knows of: a
later migration that alters ``async_job`` has to run this operation again.
"""

from __future__ import annotations

from django.db import migrations

from django_async.vendor import RunVendorSQL

# The three forms of one condition: see django_async/pending.py.
PENDING = "executed IS NULL AND cancelled IS NULL AND discarded IS NULL"
IN_GROUP = "COALESCE(executed, cancelled, discarded) IS NULL"
BY_CALL = "COALESCE(cancelled, discarded, executed) IS NULL"

PARTIAL = {
    "async_job_to_fetch": f"async_job (priority, scheduled, id) WHERE {PENDING}",
    "async_job_to_deschedule": f"async_job (identity) WHERE {BY_CALL}",
    "async_job_group_open": f"async_job (group_id) WHERE group_id IS NOT NULL AND {IN_GROUP}",
    "async_job_executed": "async_job (executed) WHERE executed IS NOT NULL",
    "async_job_cancelled": "async_job (cancelled) WHERE cancelled IS NOT NULL",
    "async_job_discarded": "async_job (discarded) WHERE discarded IS NOT NULL",
}

WHOLE = {
    "async_job_to_fetch": "async_job (pending, priority, scheduled, id)",
    "async_job_to_deschedule": "async_job (identity, pending)",
    # Not with group_id in front: InnoDB would drop the foreign key's own index in its favour.
    "async_job_group_open": "async_job (pending, group_id)",
    "async_job_executed": "async_job (executed)",
    "async_job_cancelled": "async_job (cancelled)",
    "async_job_discarded": "async_job (discarded)",
}

CREATE_PARTIAL = [f"CREATE INDEX {name} ON {what}" for name, what in PARTIAL.items()]
DROP_PARTIAL = [f"DROP INDEX {name}" for name in PARTIAL]
CREATE_WHOLE = [
    (
        "ALTER TABLE async_job ADD COLUMN pending TINYINT"
        f" GENERATED ALWAYS AS (IF({PENDING}, 1, NULL)) STORED"
    ),
    *(f"CREATE INDEX {name} ON {what}" for name, what in WHOLE.items()),
]
DROP_WHOLE = [
    *(f"DROP INDEX {name} ON async_job" for name in WHOLE),
    "ALTER TABLE async_job DROP COLUMN pending",
]


class Migration(migrations.Migration):
    dependencies = [("async", "0004_constraints")]

    operations = [
        RunVendorSQL(
            forwards={
                "postgresql": CREATE_PARTIAL,
                "sqlite": CREATE_PARTIAL,
                "mysql": CREATE_WHOLE,
            },
            backwards={"postgresql": DROP_PARTIAL, "sqlite": DROP_PARTIAL, "mysql": DROP_WHOLE},
        )
    ]
