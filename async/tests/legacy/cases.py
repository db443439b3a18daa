# ruff: noqa: UP006, UP017, UP035, UP045
# Python 3.6 runs this file, the last one that can import 0.7.3's package `async`: no newer syntax.
"""
The jobs and groups in the dumps, each made by django-async 0.7.3 itself and named for what it
shows. Where a row was changed by other means than 0.7.3's own code, its case says "by hand".

The states in words, as they stand in expected.json:

    pending-now             never tried, due
    pending-future          never tried, scheduled for 2099
    failed-due              failed, rescheduled by the back-off to a time long past
    failed-waiting          failed, scheduled for 2099
    executed                the effects are committed
    executed-but-lost       marked as executed with an Error row and without `started`: the job's
                            effects were rolled back, and 0.7.3 never ran it again
    executed-then-failed    the same marks, but from a second run that failed after a good first one
    cancelled               descheduled
    executed-and-cancelled  both marks; 0.7.3 itself never wrote such a row
"""

from contextlib import suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from importlib import import_module  # `async` is a reserved word since Python 3.7
from types import ModuleType
from typing import Any, Callable, Dict, Optional, Set, Tuple

from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError
from django.utils.timezone import now

api = import_module("async.api")
models = import_module("async.models")
Group, Job = models.Group, models.Job

FAR = datetime(2099, 1, 1, tzinfo=timezone.utc)
NOTE = "suite.legacy.note"
FAIL = "suite.legacy.fail"
UNSERIALISABLE = "suite.legacy.unserialisable"
REMOVE_OLD_JOBS = "async.api.remove_old_jobs"
TEST_FUNCTION = "async.tests.test_models._fn"

RESULTS = {
    "None": None,
    "a list": [1, "two", 3.5],
    "text beyond ASCII": "Grüße aus Köln, 東京",
    "a float": 0.1,
    "a nested dict": {"stock": {"apples": [1, 2], "pears": None}, "open": True},
    "a Decimal, stored as a number": Decimal("12.50"),
    "NaN, which strict JSON has not": float("nan"),
}

ARGUMENTS = {
    "text beyond ASCII": (["Größe", "naïve café", "東京"], {"straße": "Österreich"}),
    "floats": ([0.1, -0.0, 1e100, 1e-07, 2.0], {}),
    "None and booleans": ([None, True, False], {"nothing": None}),
    "nested lists and dicts": ([[1, [2, []]], {"b": {"a": [None]}, "a": {}}], {"deep": [{"k": 1}]}),
    "keywords not in order": ([], {"zebra": 1, "apple": 2, "mango": 3}),
    "tuples, stored as lists": ((1, (2, 3)), {}),
    "quotes, backslashes and line breaks": (['it\'s "so" \\ 100%\n\tend'], {}),
    "an integer beyond 64 bits": ([2**70], {}),
    "a Decimal, stored as 1.10 and identified as 1.1": ([Decimal("1.10")], {}),
    "NaN, which strict JSON has not": ([float("nan")], {}),
}


class Catalogue:
    """What each row was made to show: `jobs` by id as (state, case), `groups` by id as case."""

    def __init__(self) -> None:
        self.jobs: Dict[int, Tuple[str, str]] = {}
        self.groups: Dict[int, str] = {}

    def job(self, job: Any, state: str, case: str) -> None:
        self.jobs[job.pk] = (state, case)

    def group(self, group: Any, case: str) -> None:
        self.groups[group.pk] = case


class StandIn(ModuleType):
    """`suite.legacy` for this run. `note` answers as the suite's own does, unless `next_call` was
    given something else to do."""

    def __init__(self) -> None:
        super().__init__("suite.legacy")
        self.next_call: Optional[Callable[[], Any]] = None

    def note(self, *args: object, **kwargs: object) -> Any:
        if self.next_call is None:
            return [len(args), sorted(kwargs)]
        call, self.next_call = self.next_call, None
        return call()

    @staticmethod
    def fail(*args: object, **kwargs: object) -> None:
        raise ValueError(f"Kein Lagerplatz für {len(args)} Stück")

    @staticmethod
    def unserialisable(*args: object, **kwargs: object) -> Set[str]:
        return {"a set"}


def outage() -> None:
    raise ConnectionError("The stock server does not answer")


def swallowed_database_error() -> None:
    """Break the transaction as a job does that catches a database error itself."""
    with suppress(IntegrityError):
        Group.objects.create(pk=Group.objects.earliest("id").pk, reference="one id twice")


def attempt(job: Any) -> None:
    """Run the job as it is stored now. 0.7.3 raises a job's exception after recording it."""
    with suppress(Exception):
        Job.objects.get(pk=job.pk).execute()


def flush() -> None:
    call_command("flush_queue")


def tell(stand_in: StandIn) -> Catalogue:
    """Make every case. What runs the whole queue comes before the rows that must stay pending."""
    catalogue = Catalogue()
    maintenance(catalogue)
    finished_groups(catalogue)
    results(catalogue, stand_in)
    identities(catalogue)
    failures(catalogue, stand_in)
    misleading_marks(catalogue, stand_in)
    cancellations(catalogue)
    pending(catalogue)
    open_groups(catalogue, stand_in)
    strayed_finals(catalogue)
    return catalogue


def maintenance(catalogue: Catalogue) -> None:
    first = api.schedule(REMOVE_OLD_JOBS)
    flush()
    catalogue.job(first, "executed", "remove_old_jobs by its name, without arguments")
    successor = Job.objects.get(executed=None)
    api.deschedule(api.remove_old_jobs, args=[30, 8])
    catalogue.job(successor, "cancelled", "remove_old_jobs as it rescheduled itself")
    stored = api.schedule(api.remove_old_jobs, args=[30, 8], run_after=FAR)
    catalogue.job(stored, "pending-future", "remove_old_jobs by its function")


def finished_groups(catalogue: Catalogue) -> None:
    plain = Group.objects.create(reference="import-2017-02")
    catalogue.group(plain, "finished")
    members = [api.schedule(NOTE, args=["imported", n], group=plain) for n in range(3)]
    api.deschedule(NOTE, args=["imported", 2])
    described = Group.objects.create(reference="näherei", description="Sewing, für die Näherei")
    catalogue.group(described, "finished, with its final job")
    described.on_completion(api.schedule(NOTE, args=["swept up"]))
    sewn = api.schedule(NOTE, args=["sewn"], group=described)
    flush()
    for member in members[:2]:
        catalogue.job(member, "executed", "member of a finished group")
    catalogue.job(members[2], "cancelled", "member of a finished group")
    catalogue.job(described.final, "executed", "final job, scheduled before the other member")
    catalogue.job(sewn, "executed", "member of a group with a final job")


def results(catalogue: Catalogue, stand_in: StandIn) -> None:
    for title, value in RESULTS.items():
        job = api.schedule(NOTE, args=["result", title])
        stand_in.next_call = lambda value=value: value
        attempt(job)
        catalogue.job(job, "executed", "result: " + title)


def identities(catalogue: Catalogue) -> None:
    keywords = {"k": "v", "x": None}
    plain = api.schedule(TEST_FUNCTION)
    attempt(plain)
    catalogue.job(plain, "executed", "identity of a call without arguments")
    named = api.schedule(TEST_FUNCTION, kwargs=keywords)
    api.deschedule(TEST_FUNCTION, kwargs=keywords)
    catalogue.job(named, "cancelled", "identity of a call with keywords")
    both = api.schedule(TEST_FUNCTION, args=["argument"], kwargs=keywords)
    api.deschedule(TEST_FUNCTION, args=["argument"], kwargs=keywords)
    catalogue.job(both, "cancelled", "identity of a call with arguments and keywords")


def failures(catalogue: Catalogue, stand_in: StandIn) -> None:
    recovered = api.schedule(NOTE, args=["recovered"])
    due = api.schedule(NOTE, args=["due again"])
    for job in recovered, due:
        stand_in.next_call = outage
        attempt(job)
    attempt(recovered)
    catalogue.job(recovered, "executed", "executed after a failure")
    catalogue.job(due, "failed-due", "failed once, would run now")
    waiting = api.schedule(FAIL, args=["waiting"])
    attempt(waiting)
    Job.objects.filter(pk=waiting.pk).update(scheduled=FAR)
    catalogue.job(waiting, "failed-waiting", "failed once, postponed by hand")
    stubborn = api.schedule(FAIL, kwargs={"stubborn": True})
    for _ in range(5):
        attempt(stubborn)
    catalogue.job(stubborn, "failed-due", "failed five times, fails again")
    gone = api.schedule("suite.legacy.gone")
    attempt(gone)
    catalogue.job(gone, "failed-due", "failed once, its function does not exist")


def misleading_marks(catalogue: Catalogue, stand_in: StandIn) -> None:
    a_set = api.schedule(UNSERIALISABLE)
    attempt(a_set)
    catalogue.job(a_set, "executed-but-lost", "result was a set: marked executed, no result")
    swallowed = api.schedule(NOTE, args=["swallowed"])
    stand_in.next_call = swallowed_database_error
    attempt(swallowed)
    catalogue.job(swallowed, "executed-but-lost", "swallowed a database error: result kept")
    again = api.schedule(NOTE, args=["again"])
    attempt(again)
    stand_in.next_call = outage
    attempt(again)
    catalogue.job(again, "executed-then-failed", "executed a second time, which failed")
    both = api.schedule(NOTE, args=["both"])
    attempt(both)
    Job.objects.filter(pk=both.pk).update(cancelled=now())
    catalogue.job(both, "executed-and-cancelled", "marked cancelled by hand")


def cancellations(catalogue: Catalogue) -> None:
    twins = [api.schedule(NOTE, args=["twin"], priority=priority) for priority in (5, 7)]
    api.deschedule(NOTE, args=["twin"])
    for twin in twins:
        catalogue.job(twin, "cancelled", "one of two equal jobs that one deschedule cancelled")
    failed = api.schedule(FAIL)
    attempt(failed)
    api.deschedule(FAIL)
    catalogue.job(failed, "cancelled", "failed once, then cancelled")
    postponed = api.schedule(NOTE, args=["postponed"], run_after=FAR)
    api.deschedule(NOTE, args=["postponed"])
    catalogue.job(postponed, "cancelled", "cancelled before its time")
    revived = api.schedule(NOTE, args=["revived"])
    api.deschedule(NOTE, args=["revived"])
    attempt(revived)
    catalogue.job(revived, "executed", "cancelled, then run by Job.execute()")
    longest = api.schedule("suite.legacy.".ljust(100, "x"))
    api.deschedule(longest.name)
    catalogue.job(longest, "cancelled", "a name of 100 characters")


def pending(catalogue: Catalogue) -> None:
    for priority in (5, -3, 0, 100):
        job = api.schedule(NOTE, args=["priority", priority], priority=priority)
        catalogue.job(job, "pending-now", f"priority {priority}")
    past = now() - timedelta(days=1, microseconds=1)
    job = api.schedule(NOTE, args=["past"], run_after=past)
    catalogue.job(job, "pending-now", "scheduled in the past")
    job = api.schedule(NOTE, args=["future"], run_after=FAR)
    catalogue.job(job, "pending-future", "scheduled in the far future")
    job = api.schedule(NOTE, args=["meta"], meta={"asked by": "Zoë", "max_attempts": 3})
    catalogue.job(job, "pending-now", "with meta, which 0.7.3 stored and ignored")
    job = api.schedule(UNSERIALISABLE, args=["pending"])
    catalogue.job(job, "pending-now", "fails when it runs: its result is a set")
    for title, (args, kwargs) in ARGUMENTS.items():
        job = api.schedule(NOTE, args=args, kwargs=kwargs)
        catalogue.job(job, "pending-now", "arguments: " + title)


def open_groups(catalogue: Catalogue, stand_in: StandIn) -> None:
    catalogue.group(Group.objects.create(reference="empty"), "without jobs")
    orders = Group.objects.create(reference="orders", description="Orders of the day")
    catalogue.group(orders, "open, with a pending final job")
    final = api.schedule(NOTE, args=["reconciled"], priority=9)
    orders.on_completion(final)
    catalogue.job(final, "pending-now", "final job of an open group, ahead of the members")
    for n in range(3):
        member = api.schedule(NOTE, args=["order", n], group="orders")
        catalogue.job(member, "pending-now", "member of an open group with a final job")
    late = api.schedule(NOTE, args=["late order"], group="orders", priority=-100)
    stand_in.next_call = outage
    attempt(late)
    catalogue.job(late, "failed-due", "member that failed, and so still holds up the final job")
    unlucky_twins(catalogue)
    partly_and_renewed(catalogue)


def unlucky_twins(catalogue: Catalogue) -> None:
    """Two processes that schedule into a new reference at once make both groups before either job:
    0.7.3's check of the reference then finds no job to object to."""
    twins = [Group.objects.create(reference="stocktake") for _ in range(2)]
    for shelf, twin in enumerate(twins):
        catalogue.group(twin, "open, one of two with this reference")
        member = api.schedule(NOTE, args=["shelf", shelf], group=twin)
        catalogue.job(member, "pending-now", "member of one of two open groups of one reference")


def partly_and_renewed(catalogue: Catalogue) -> None:
    done, rest = [api.schedule(NOTE, args=["half", n], group="partly") for n in range(2)]
    attempt(done)
    catalogue.job(done, "executed", "member of a group that is partly done")
    catalogue.job(rest, "pending-now", "member of a group that is partly done")
    catalogue.group(done.group, "open, one of two jobs executed")
    renewed = api.schedule(NOTE, args=["sewn again"], group="näherei")
    catalogue.job(renewed, "pending-now", "member of a group made anew")
    catalogue.group(renewed.group, "open, made anew from a finished one of this reference")


def strayed_finals(catalogue: Catalogue) -> None:
    done = api.schedule(NOTE, args=["too early"], group="too late")
    attempt(done)
    catalogue.job(done, "executed", "member of a group that got its final job too late")
    late = api.schedule(NOTE, args=["too late"])
    with suppress(ValidationError):  # raised after the group, and before the job, was saved
        done.group.on_completion(late)
    catalogue.job(late, "pending-now", "final job of a group that it could not join")
    catalogue.group(done.group, "finished, with a pending final job outside the group")
    shared = api.schedule(NOTE, args=["shared"])
    for reference in ("first of two", "second of two"):
        group = Group.objects.create(reference=reference)
        group.on_completion(shared)
        catalogue.group(group, "open, sharing its only job, the final one, with another group")
    catalogue.job(shared, "pending-now", "final job of two groups, member of the second")
