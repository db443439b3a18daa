"""Calls in lists, of which no more is read than is shown: arguments may have a megabyte."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Left

from django_async.models import Job
from django_async.payload import label, label_of_beginning

BEGINNING = 400
"""Characters of the arguments that are read."""

LARGE = ("args", "kwargs", "meta", "result")


def with_calls(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """Without what may be large, but with what ``call()`` needs."""
    beginnings = {f"beginning_of_{name}": Left(name, BEGINNING + 1) for name in ("args", "kwargs")}
    return jobs.defer(*LARGE).annotate(**beginnings)


def call(job: Any) -> str:
    """The call, for people: on one line, and shortened."""
    args, kwargs = job.beginning_of_args, job.beginning_of_kwargs
    if max(len(args), len(kwargs)) > BEGINNING:
        return label_of_beginning(job.name, args, kwargs)
    return label(job.name, args, kwargs)
