"""How single jobs have to end, in a drain of good and bad ones."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django_async.models import Error, Job
from faults.scale import Violation

EXECUTED = ""
"""In place of a pattern for a job's error: it has none."""


def must_have_ended(what: str, job: int, pattern: str) -> None:
    """The job, whose one attempt was its last, is executed, or its error matches the pattern."""
    state = Job.objects.get(pk=job).state
    errors = list(Error.objects.filter(job=job).values_list("exception", flat=True))
    told = f"the job of {what!r} is {state}, with these errors: {[one[:200] for one in errors]}"
    if pattern == EXECUTED:
        if state != "executed" or errors:
            raise Violation(f"{told}; it should be executed")
    elif state != "discarded" or len(errors) != 1 or not re.search(pattern, errors[0]):
        raise Violation(f"{told}; it should be discarded, with {pattern}")


def must_be_untouched(innocent: Sequence[int]) -> None:
    """The jobs were executed at their first attempt, whatever others did beside them."""
    found = Job.objects.executed().filter(pk__in=innocent, attempts=1, errors=None)
    if missing := len(innocent) - found.count():
        raise Violation(f"{missing} innocent jobs were not executed at their first attempt")
