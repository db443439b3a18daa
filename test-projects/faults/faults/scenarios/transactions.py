"""Jobs that abuse their transaction, beside jobs that do not."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from django.db import connection

from django_async.models import Job
from faults import abused, jobs
from faults.scale import Figures, Scale, Violation
from faults.scenario import scenario
from faults.verdict import EXECUTED, must_be_untouched, must_have_ended
from faults.world import World
from suite.models import Account, Note

ON_POSTGRESQL, ON_MYSQL, ON_SQLITE = (
    connection.vendor == vendor for vendor in ("postgresql", "mysql", "sqlite")
)

ENDS = {
    "exit_politely": r"^SystemExit\(3\)",
    "interrupt": r"^KeyboardInterrupt\(\)",
    "raise_no_error": r"^NoError\('neither'\)",
    "raise_unspeakable": r"UnspeakableError",
    "raise_odd_text": r"^ValueError\('nul",
    "return_a_set": r"^TypeError\(",
    "return_nan": r"^ValueError\(",
    "return_abyss": r"^ValueError\('Circular",
    "break_foreign_key": r"^IntegrityError\(",
    "set_rollback": r"^MarkedForRollback\(",
    # If the next one has committed its account before, the error comes earlier, and as itself.
    "swallow_orm_error": r"^(MarkedForRollback|IntegrityError)\(",
    "swallow_inner_orm_error": EXECUTED,
    "swallow_cursor_error": r"^MarkedForRollback\(" if ON_POSTGRESQL else EXECUTED,
    "close_connection": r"^ConnectionClosed\(",
    "rollback": r"^TransactionEnded\(",
    "open_durable_block": r"^RuntimeError\('A durable atomic block",
    "delete_itself": r"^JobRowGone\(",
    "finish_itself": r"^JobRowGone\(",
    "nest": EXECUTED,
    "hook_and_fail": r"^ValueError\('failed'\)",
}
"""How each ends: it is executed, or its error matches this."""

COMMITTING = {
    "commit": r"^(TransactionEnded|OperationalError)\(",
    "commit_and_raise": r"^(TransactionEnded|ValueError)\(",
}
"""Those whose effects stay although they fail."""

if ON_MYSQL:
    COMMITTING["define_data"] = r"^TransactionEnded\("
else:
    ENDS["define_data"] = EXECUTED
if not ON_SQLITE:
    ENDS["end_own_session"] = ENDS["lose_session"] = r"."

LEFT_BY_HOOKS = ["a transaction", "autocommit off", "a closed connection"]
"""States of the connection that the next job must not notice."""

HOOKS = ["first", "fail", "second", "exit", "third"]
KEPT = [
    *("before", "after"),
    *([] if ON_POSTGRESQL else ["before", "after"]),  # where a swallowed error undoes itself
    *("kept", "hook of what was kept"),
    *("an effect", "first", "second", "third"),
    *["committed by the job"] * 3,  # by two jobs that fail; what defines data fails on MariaDB only
]
"""The notes of those that are executed or committed."""

PARTIES = 3
"""Jobs that race for one row; one worker fewer than there are, for there are other jobs."""


@scenario(12, "transactions-abused")
def abuse_transactions(world: World, scale: Scale, rng: Random) -> Figures:
    """Jobs close, commit, roll back and break their transactions; no other job notices."""
    count = 0
    for number in range(scale.count(1, 40)):
        innocent, expected = _schedule(world, rng, world.folder / f"meeting-{number}")
        with world.flush() as flush:
            flush.end(1)
        must_be_untouched(innocent)
        for job, (name, pattern) in expected.items():
            must_have_ended(name, job, pattern)
        _must_be_kept()
        count += len(expected)
        world.check()
        world.empty()
    return {"abusive jobs": count}


def _schedule(
    world: World, rng: Random, meeting: Path
) -> tuple[list[int], dict[int, tuple[str, str]]]:
    """Everything in a random order, with an innocent job before each; the ids of the innocent, and
    how each of the others has to end."""
    calls: list[tuple[Any, list[Any], str]] = [
        *((abused.take, [name], end) for name, end in ENDS.items()),
        *((abused.take_unentered, [name], end) for name, end in COMMITTING.items()),
        *((abused.take, ["hook_that_leaves", what], EXECUTED) for what in LEFT_BY_HOOKS),
        (abused.take, ["hook", *HOOKS], EXECUTED),
    ]
    if not ON_SQLITE:  # where jobs do not meet
        meeting.mkdir()
        race = ["deposit", "shared", str(meeting), PARTIES]
        calls += [(abused.take, race, EXECUTED)] * PARTIES
        calls.append((abused.take, ["hook_that_leaves", "a lost session"], EXECUTED))
    innocent: list[int] = []
    expected = {}
    for function, arguments, pattern in rng.sample(calls, len(calls)):
        innocent += world.schedule(jobs.enter, [[len(innocent)]])
        [job] = world.schedule(function, [arguments], meta={"max_attempts": 1})
        expected[job] = arguments[0], pattern
    return innocent, expected


def _must_be_kept() -> None:
    """Of all that the jobs did, what was executed or committed is there, and nothing else."""
    found = sorted(Note.objects.values_list("text", flat=True))
    if found != sorted(KEPT):
        raise Violation(f"the notes are {found}, and should be {sorted(KEPT)}")
    if children := Job.objects.filter(name="suite.jobs.note").count():
        raise Violation(f"{children} jobs exist that failed jobs had scheduled")
    shared = Account.objects.filter(name="shared").values_list("balance", flat=True)
    if not ON_SQLITE and list(shared) != [PARTIES]:
        raise Violation(f"{PARTIES} jobs added one to an account, which holds {list(shared)}")
