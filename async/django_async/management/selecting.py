"""Which jobs a command of the terminal is about: by id, or by what they have in common."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from django_async import roster
from django_async.errors import NoticesUnavailable
from django_async.management import databases
from django_async.management.arguments import queue_name
from django_async.models import Group, Job, JobQuerySet
from django_async.pending import BY_KEY

STATES = (
    "pending",
    "due",
    "scheduled",
    "failed",
    "running",
    "executed",
    "cancelled",
    "discarded",
)


def add_to(parser: CommandParser) -> None:
    """Add the arguments that say which jobs are meant."""
    add = parser.add_argument
    add("id", nargs="*", type=_id, help="the jobs with these ids")
    add("--state", choices=STATES, help="those in this state; 'pending' is all that will run")
    add("--name", metavar="PREFIX", help="those whose function's path starts so")
    add("--queue", type=queue_name, metavar="NAME", help="those of this queue")
    add("--group", metavar="REFERENCE", help="those of the groups with this reference")
    databases.add_to(parser)


def database(options: dict[str, Any]) -> str:
    """The alias of the database. Raises CommandError if there is none of it."""
    return databases.chosen(options["database"], returncode=2)


def selected(options: dict[str, Any], running: Collection[int] | None = None) -> QuerySet[Job]:
    """The jobs that meet all that was said. Which of them run is looked up if it matters and is not
    given. Raises CommandError for a database that is none, and if what runs cannot be told."""
    every = Job.objects.using(database(options))
    if options["state"] == "running":
        jobs = every.filter(BY_KEY, pk__in=_running(every.db) if running is None else running)
    else:
        jobs = _in_state(every, options["state"])
    if options["id"]:
        jobs = jobs.filter(pk__in=options["id"])
    if options["name"]:
        jobs = jobs.filter(name__startswith=options["name"])
    if options["queue"]:
        jobs = jobs.filter(queue=options["queue"])
    if options["group"]:
        groups = Group.objects.using(every.db).filter(reference=options["group"])
        # By what was read: joined with them, PostgreSQL reads all jobs.
        jobs = jobs.filter(group__in=list(groups.values_list("pk", flat=True)))
    return jobs


def is_restricted(options: dict[str, Any]) -> bool:
    """Whether anything was said of which jobs are meant."""
    return any(options[name] for name in ("id", "state", "name", "queue", "group"))


def _in_state(jobs: JobQuerySet, state: str | None) -> JobQuerySet:
    if state is None:
        return jobs
    found: JobQuerySet = {"scheduled": jobs.waiting}.get(state, getattr(jobs, state, jobs.all))()
    return found


def _running(using: str) -> Collection[int]:
    try:
        return roster.alive(using)
    except NoticesUnavailable as error:
        raise CommandError(str(error), returncode=1) from error


def _id(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a job, a whole number")
    return int(text)
