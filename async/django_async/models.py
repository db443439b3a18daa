"""The rows: jobs, the groups that they may form, the errors of their attempts, and the parents.

A job's life::

                    schedule()
                        │
                        ▼     an attempt fails: an Error row, later, one priority lower
                   ┌─ pending ◀─────────┐
      deschedule() │    │ attempt        │
                   │    ├────────────────┘
                   │    ├──────────────▶ discarded   given up: meta's max_attempts reached
                   ▼    ▼
             cancelled  executed

Between the claim and the commit a job looks pending to everybody else: its row is locked, and the
marks that say otherwise become visible together with its effects. A job that runs without a
transaction is pending, and has ``started``: it is running, or its owner is dead (see detached.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import models, router
from django.db.models import Q
from django.utils import timezone

from django_async import payload, pending
from django_async.clock import DatabaseNow
from django_async.compat import check_constraint
from django_async.groups import Group
from django_async.notices import Cancellation, Pause, Running
from django_async.slots import Statistic

__all__ = [
    "Cancellation",
    "Error",
    "Group",
    "Job",
    "JobQuerySet",
    "Parent",
    "Pause",
    "Running",
    "Statistic",
]


HANDED_OUT = ("-priority", models.F("scheduled").asc(nulls_last=True), "id")
"""The order in which the queue hands jobs out."""


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs by their state. (``exclude(executed=None)`` would become ``NOT (executed IS NULL)``, in
    which SQLite does not recognise the condition of an index.)"""

    def pending(self) -> JobQuerySet:
        """Neither executed nor cancelled nor given up: they will run, now or later."""
        return self.filter(pending.IN_ORDER)

    def finished(self) -> JobQuerySet:
        """Executed, cancelled or given up: they will never run again."""
        return self.exclude(pending.IN_ORDER)

    def due(self) -> JobQuerySet:
        """Pending, and their time has come, by the database's clock."""
        return self.pending().filter(Q(scheduled=None) | Q(scheduled__lte=DatabaseNow()))

    def waiting(self) -> JobQuerySet:
        """Pending, and their time is still to come."""
        return self.pending().filter(scheduled__gt=DatabaseNow())

    def executed(self) -> JobQuerySet:
        """Ran to their end; their effects are committed."""
        return self.filter(executed__isnull=False)

    def cancelled(self) -> JobQuerySet:
        """Taken out of the queue by ``deschedule``."""
        return self.filter(cancelled__isnull=False)

    def discarded(self) -> JobQuerySet:
        """Given up after as many attempts as they were allowed."""
        return self.filter(discarded__isnull=False)

    def failed(self) -> JobQuerySet:
        """Failed at least once, and waiting for their next attempt."""
        return self.pending().filter(attempts__gt=0)

    def running(self) -> JobQuerySet:
        """Those that run now, wherever that is; true within a second, and looked up by this call.
        Raises NoticesUnavailable if the file beside an SQLite database cannot be read."""
        from django_async.roster import running

        return running(self)

    def retry_failed(self) -> int:
        """Have those run now that have failed and wait for their next attempt, or were discarded;
        their attempts and errors are kept. Returns how many there were.

        Left alone are those that are running, and those of a group that has ended if its reference
        means another open one by now.
        """
        from django_async.rescheduling import retry_failed

        self._for_write = True  # as Django's update() tells the routers
        return retry_failed(self)

    retry_failed.alters_data = True  # type: ignore[attr-defined]

    def in_order(self) -> JobQuerySet:
        """In the order in which the queue hands them out."""
        return self.order_by(*HANDED_OUT)


class Job(models.Model):
    """A function call that is to be executed once, in one transaction."""

    name = models.CharField(max_length=255)
    args = models.TextField(default="[]")
    kwargs = models.TextField(default="{}")
    meta = models.TextField(default="{}")
    result = models.TextField(blank=True)

    priority = models.IntegerField(default=5)
    queue = models.CharField(max_length=100, default="default")
    identity = models.CharField(max_length=100)
    attempts = models.PositiveIntegerField(default=0, editable=False)
    crashes = models.PositiveIntegerField(default=0, editable=False)
    stamp = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001 - see below
    """Of nearly every job null. ``suspected``: it was in the hands of a parent that died with all
    its workers. The token of a Parent: this one attempts it, as a suspect, alone. It is null and
    not empty so that adding the column rewrites no table."""

    task_id = models.CharField(max_length=32, null=True, editable=False)  # noqa: DJ001 - as stamp
    """By which Django's task framework knows the job: see tasks/. Unique, if there is one."""
    worker = models.CharField(max_length=100, null=True, editable=False)  # noqa: DJ001 - as stamp
    """The host and the process that executed it; without a transaction, that began it."""
    scheduled_by = models.BigIntegerField(null=True, editable=False)
    """The id of the job that scheduled it, which may be gone by now: so no foreign key, whose check
    would ask for the lock of a job that runs."""

    added = models.DateTimeField(auto_now_add=True)
    scheduled = models.DateTimeField(
        null=True, blank=True, help_text="If not set, will be executed ASAP"
    )
    started = models.DateTimeField(null=True, blank=True)
    executed = models.DateTimeField(null=True, blank=True)
    cancelled = models.DateTimeField(null=True, blank=True)
    discarded = models.DateTimeField(null=True, blank=True)

    group = models.ForeignKey(Group, models.CASCADE, related_name="jobs", null=True, blank=True)

    objects: ClassVar[models.Manager[Job]] = models.Manager.from_queryset(JobQuerySet)()

    class Meta:
        permissions = [  # noqa: RUF012 - Django's idiom
            ("retry_job", "Can have jobs run again"),
            ("cancel_job", "Can cancel jobs, running ones too"),
            ("reschedule_job", "Can give jobs another time"),
            ("prioritise_job", "Can give jobs another priority"),
            ("discard_job", "Can give jobs up"),
            ("move_job", "Can put jobs into another queue"),
            ("schedule_job", "Can schedule jobs by hand"),
        ]
        constraints = [  # noqa: RUF012 - Django's idiom
            check_constraint(
                Q(executed=None, cancelled=None)
                | Q(executed=None, discarded=None)
                | Q(cancelled=None, discarded=None),
                name="async_job_ends_once",
            ),
            check_constraint(
                Q(executed=None) | Q(started__isnull=False), name="async_job_started_first"
            ),
            check_constraint(~Q(queue=""), name="async_job_has_queue"),
            check_constraint(
                Q(attempts__gte=models.F("crashes")), name="async_job_crashes_are_attempts"
            ),
        ]

    def __str__(self) -> str:
        if self.get_deferred_fields() & {"args", "kwargs"}:  # a list does not ask again for each
            return self.name
        try:
            return payload.signature(self.name, self.args, self.kwargs)
        except payload.UNREADABLE:
            return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, with the identity that belongs to the call.

        Raises ValidationError if the job would join a group that has finished jobs.
        """
        if self.group_id is not None:
            self._check_may_join(kwargs.get("using") or router.db_for_write(Job, instance=self))
        self.identity = payload.identity(self.name, self.args, self.kwargs)
        super().save(*args, **kwargs)

    @property
    def state(self) -> str:
        """In a word: executed, cancelled, discarded, running, failed (will be retried), scheduled
        or due. Only a job without a transaction can be seen running."""
        for word in ("executed", "cancelled", "discarded"):
            if getattr(self, word):
                return word
        if self.started:
            return "running"
        if self.attempts:
            return "failed"
        return (
            "scheduled" if self.scheduled and self.scheduled > _now_like(self.scheduled) else "due"
        )

    def execute(self) -> Any:
        """Run this job now, due or not, in a transaction of its own, and return its result.

        An exception of the job is recorded as in a worker, and raised. Raises JobNotRunnable for a
        job that has ended or is running elsewhere, and inside an open transaction (that of Django's
        TestCase does not count): a job's transaction must be the outermost.
        """
        from django_async.runner import execute_now

        return execute_now(self)

    def cancel(self) -> bool:
        """Cancel this job, as the caller's transaction commits; never waits for it.

        True if it is cancelled. False if it is running, or somebody else has its row locked, and
        was asked for: whoever runs it interrupts it, and everything that it did is rolled back. It
        may yet end by itself before that. Raises JobEnded if it has ended.
        """
        from django_async.cancelling import cancel_job

        return cancel_job(self)

    cancel.alters_data = True  # type: ignore[attr-defined]

    def retry(self) -> None:
        """Have this job run now, whatever has become of it: it may wait, have failed, or have been
        discarded or cancelled. Attempts and errors are kept.

        Raises JobEnded if it was executed, JobNotRunnable if it is running, and ValidationError if
        all jobs of its group have ended and the reference means another open one by now.
        """
        from django_async.rescheduling import retry

        retry(self)

    retry.alters_data = True  # type: ignore[attr-defined]

    def reschedule(self, when: datetime | timedelta) -> None:
        """The same as ``retry()``, but then: at a moment, or so long from now, by the database's
        clock. Raises TypeError or ValueError for what is none."""
        from django_async.rescheduling import reschedule

        reschedule(self, when)

    reschedule.alters_data = True  # type: ignore[attr-defined]

    def _check_may_join(self, using: str) -> None:
        same = Job.objects.using(using).filter(pk=self.pk, group=self.group_id)
        if self.group and (self._state.adding or not same.exists()):
            self.group.check_open(using)


class Error(models.Model):
    """An attempt that did not end in ``executed``: an exception, or the death of its worker."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="errors")
    executed = models.DateTimeField(auto_now_add=True)
    exception = models.TextField()
    traceback = models.TextField()
    kind = models.CharField(max_length=255, null=True)  # noqa: DJ001 - null in rows of old
    """The dotted path of the exception's class."""
    worker = models.CharField(max_length=100, null=True)  # noqa: DJ001 - null where nobody knows
    """The host and the process that made the attempt."""
    started = models.DateTimeField(null=True)
    """When the attempt began, by the clock of that host."""

    class Meta:
        pass

    def __str__(self) -> str:
        return f"{self.executed} : {payload.short(self.exception)}"


class Parent(models.Model):
    """A ``flush_queue`` that runs, with the jobs that it has in hand (see parents.py)."""

    token = models.CharField(max_length=32, unique=True, editable=False)
    host = models.CharField(max_length=255)
    process = models.CharField(max_length=100)
    """Its process id and, where the system tells, the moment of its birth."""
    workers = models.PositiveIntegerField(default=1)
    batch = models.TextField(default="[]")
    """JSON: the id and the attempts of each job in hand, in the order of their hand-out; and what
    is foreseen (see stamps.py)."""
    began = models.DateTimeField(auto_now_add=True)

    class Meta:
        pass

    def __str__(self) -> str:
        return f"{self.host} {self.process}"


def _now_like(value: datetime) -> datetime:
    now = timezone.now()
    if timezone.is_aware(value) == timezone.is_aware(now):
        return now
    return timezone.make_naive(now) if timezone.is_aware(now) else timezone.make_aware(now)
