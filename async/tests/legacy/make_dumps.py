# ruff: noqa: UP006, UP017, UP035
# Python 3.6 runs this file, the last one that can import 0.7.3's package `async`: no newer syntax.
"""
Makes the dumps of databases of django-async 0.7.3 that the migration tests start from:
sqlite.sql, postgresql.sql, mysql.sql, and expected.json, which says what the three hold in common.
The rows come from 0.7.3's own migration and code, run as cases.py tells.

Make an environment of its time (0.7.3 runs up to Python 3.6 and Django 1.11):

    python3.6 -m venv v36
    v36/bin/pip install Django==1.11.29 django-async==0.7.3 simplejson==3.10.0 \
        "psycopg2-binary<2.9" "PyMySQL<1.1"

Then make one dump, or all three:

    v36/bin/python async/tests/legacy/make_dumps.py sqlite
    v36/bin/python async/tests/legacy/make_dumps.py postgresql
    v36/bin/python async/tests/legacy/make_dumps.py mysql
    v36/bin/python async/tests/legacy/make_dumps.py

The servers are those of POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD and of
MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD (127.0.0.1 with the usual ports, "postgres",
"root" and no password where they are not set); pg_dump and mysqldump must be on PATH. A database
named legacy_dump is made for the run, replacing any that is there, and dropped afterwards.

The clock starts at a fixed time and every look at it moves it by a second and a microsecond, so the
same versions make the same files again. "sqlite" writes expected.json, the others compare with it.

Load a dump into an empty database: sqlite.sql by executescript(), postgresql.sql by psql or as one
execute(), mysql.sql by the mysql client or statement by statement (each ends with ";" and
its line).
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from importlib import import_module  # `async` is a reserved word since Python 3.7
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List

import django.utils.timezone
from django.conf import settings
from django.db import connection
from django.db.backends.signals import connection_created

HERE = Path(__file__).resolve().parent
VENDORS = ("sqlite", "postgresql", "mysql")
NAME = "legacy_dump"


class Clock:
    """A clock that only moves when it is looked at."""

    def __init__(self) -> None:
        self.time = datetime(2017, 3, 1, 9, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1, microseconds=1)
        return self.time


def main() -> None:
    if len(sys.argv) == 1:
        for vendor in VENDORS:
            subprocess.check_call([sys.executable, __file__, vendor])
    elif len(sys.argv) == 2 and sys.argv[1] in VENDORS:
        with tempfile.TemporaryDirectory() as scratch:
            make_dump(sys.argv[1], Path(scratch))
    else:
        sys.exit(f"usage: make_dumps.py [{'|'.join(VENDORS)}]")


def make_dump(vendor: str, scratch: Path) -> None:
    """Make the database, let the cases happen in it, and write what it holds."""
    set_up(vendor, scratch)
    cases = import_module("cases")  # it imports models, so Django must have been set up
    os.chdir(str(scratch))  # flush_queue puts its lock file into the current directory
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        catalogue = cases.tell(install_stand_in(cases.StandIn()))
        shorten_tracebacks()
        check_expected(vendor, expected(catalogue))
        dump = {"sqlite": dump_sqlite, "postgresql": dump_postgresql, "mysql": dump_mysql}[vendor]
        (HERE / (vendor + ".sql")).write_text(dump(connection.settings_dict), encoding="utf-8")
    finally:
        connection.creation.destroy_test_db(NAME, verbosity=0)


def set_up(vendor: str, scratch: Path) -> None:
    # Before the set-up: model fields and the migrations keep the function that they find.
    django.utils.timezone.now = Clock()
    if vendor == "mysql":
        import_module("pymysql").install_as_MySQLdb()
    connection_created.connect(keep_references)
    settings.configure(
        DATABASES={"default": database(vendor, scratch)},
        INSTALLED_APPS=["django.contrib.contenttypes", "async"],
        USE_TZ=True,
    )
    django.setup()


def keep_references(connection: Any, **_: object) -> None:
    """Django 1.11 renames tables in the belief that references to them stay as they are; since
    SQLite 3.26 they follow, and would point to tables that are gone."""
    if connection.vendor == "sqlite":
        connection.cursor().execute("PRAGMA legacy_alter_table = ON")


def database(vendor: str, scratch: Path) -> Dict[str, Any]:
    engine = "django.db.backends." + {"sqlite": "sqlite3"}.get(vendor, vendor)
    if vendor == "sqlite":
        test = {"NAME": str(scratch / NAME)}
        return {"ENGINE": engine, "NAME": str(scratch / "unused"), "TEST": test}
    test = {"NAME": NAME}
    if vendor == "mysql":
        test.update(CHARSET="utf8mb4", COLLATION="utf8mb4_general_ci")  # every server has these
    return dict(server(vendor), ENGINE=engine, NAME=NAME, TEST=test)


def server(vendor: str) -> Dict[str, Any]:
    prefix, port, user = {
        "postgresql": ("POSTGRES_", "5432", "postgres"),
        "mysql": ("MYSQL_", "3306", "root"),
    }[vendor]
    defaults = {"HOST": "127.0.0.1", "PORT": port, "USER": user, "PASSWORD": ""}
    return {key: os.environ.get(prefix + key, default) for key, default in defaults.items()}


def install_stand_in(legacy: Any) -> Any:
    """Make `legacy` what the name suite.legacy leads to."""
    suite: Any = ModuleType("suite")
    suite.legacy = legacy
    sys.modules.update({"suite": suite, "suite.legacy": legacy})
    return legacy


def shorten_tracebacks() -> None:
    """Take out where on this machine the files lie."""
    for error in import_module("async.models").Error.objects.all():
        error.traceback = re.sub(
            r'File ".*/(?:site-packages|python3\.6|legacy)/', 'File "', error.traceback
        )
        error.save()


def check_expected(vendor: str, found: Dict[str, Any]) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    path = HERE / "expected.json"
    if vendor == "sqlite":
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        sys.exit(f"{vendor} does not hold what expected.json says; run sqlite first")


def expected(catalogue: Any) -> Dict[str, Any]:
    models = import_module("async.models")
    jobs, groups = models.Job.objects.order_by("id"), models.Group.objects.order_by("id")
    return {
        "jobs": {job.pk: describe_job(job, *catalogue.jobs[job.pk]) for job in jobs},
        "groups": {group.pk: describe_group(group, catalogue.groups[group.pk]) for group in groups},
    }


def describe_job(job: Any, state: str, case: str) -> Dict[str, Any]:
    stored = ("name", "args", "kwargs", "meta", "result", "priority", "identity")
    stamps = ("added", "scheduled", "started", "executed", "cancelled")
    description = {"case": case, "state": state}
    description.update((field, getattr(job, field)) for field in stored)
    for field in stamps:
        stamp = getattr(job, field)
        description[field] = stamp and stamp.astimezone(timezone.utc).isoformat()
    description["group"] = job.group_id
    description["group_reference"] = job.group and job.group.reference
    description["errors"] = job.errors.count()
    return description


def describe_group(group: Any, case: str) -> Dict[str, Any]:
    return {
        "case": case,
        "reference": group.reference,
        "description": group.description,
        "created": group.created.astimezone(timezone.utc).isoformat(),
        "final": group.final_id,
        "jobs": [job.pk for job in group.jobs.order_by("id")],
    }


def dump_sqlite(database: Dict[str, Any]) -> str:
    """Foreign keys are off while loading, for rows come before the tables that they refer to."""
    connection.cursor()  # a Django connection opens when it is first used
    lines = ["PRAGMA foreign_keys=OFF;", *connection.connection.iterdump()]
    return "\n".join(lines) + "\n"


def dump_postgresql(database: Dict[str, Any]) -> str:
    """Without session settings, psql's own commands and comments: other versions of the server and
    of the client do not know them all, and a connection that loads the dump stays as it was."""
    command = ["pg_dump", "--no-owner", "--no-privileges", "--inserts"]
    command += ["--username", database["USER"]]
    text = run_dump(command, database, PGPASSWORD=database["PASSWORD"], PGTZ="UTC")
    noise = re.compile(r"--|\\|SET |SELECT pg_catalog\.set_config|$")
    return "".join(line for line in text.splitlines(True) if not noise.match(line))


def dump_mysql(database: Dict[str, Any]) -> str:
    """Foreign keys are off while loading, for rows come before the tables that they refer to.
    Conditional comments are left out: MariaDB and MySQL read each other's differently."""
    command = ["mysqldump", "--compact", "--skip-extended-insert", "--single-transaction"]
    command += ["--default-character-set=utf8mb4", "--user", database["USER"]]
    text = run_dump(command, database, MYSQL_PWD=database["PASSWORD"])
    lines = [line for line in text.splitlines() if not line.startswith("/*")]
    lines = ["SET NAMES utf8mb4;", "SET FOREIGN_KEY_CHECKS=0;", *lines, "SET FOREIGN_KEY_CHECKS=1;"]
    return "\n".join(lines) + "\n"


def run_dump(command: List[str], database: Dict[str, Any], **environment: str) -> str:
    """What `command` prints, given where the database is and, unseen by others, the password."""
    where = ["--host", database["HOST"], "--port", database["PORT"], database["NAME"]]
    return subprocess.check_output(command + where, env=dict(os.environ, **environment)).decode()


if __name__ == "__main__":
    main()
