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

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, router, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from django_async import payload, pending
from django_async.clock import DatabaseNow
from django_async.compat import check_constraint
from django_async.turn import take_turn


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

    def in_order(self) -> JobQuerySet:
        """In the order in which the queue hands them out."""
        return self.order_by("-priority", models.F("scheduled").asc(nulls_last=True), "id")


class Group(models.Model):
    """Jobs that belong together, and perhaps a final one that runs when all others have ended."""

    reference = models.CharField(max_length=255)
    description = models.TextField(blank=True, null=True)  # noqa: DJ001 - as in 0.7.3
    created = models.DateTimeField(auto_now_add=True)
    final = models.ForeignKey("Job", models.SET_NULL, blank=True, null=True, related_name="ends")
    open_reference = models.CharField(
        max_length=255, null=True, blank=True, unique=True, editable=False
    )
    """The reference again, in the newest group that has it: being unique, it keeps two callers at
    once from opening two groups with one reference."""

    class Meta:
        pass

    def __str__(self) -> str:
        return self.reference

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new group becomes the one that its reference means.

        Raises ValidationError while another group with the reference is open: it has unfinished
        jobs, or is the newest one and waits for its first.
        """
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        self._check_reference_is_free(using)
        with transaction.atomic(using=using):
            if self._is_to_hold_its_reference():
                self._take_reference(using)
            self._insert_or_update(*args, **{**kwargs, "using": using})
            self._adopt_final(using)

    def on_completion(self, job: Job) -> None:
        """Make ``job`` the final one: it runs when all others are executed, cancelled or discarded.

        Raises ValidationError if the job would have to join a group that has finished jobs: call it
        in the transaction in which the group's jobs are scheduled.
        """
        self.final = job
        self.save()

    def has_completed(self, exclude: Job | None = None) -> bool:
        """Whether the group has jobs and all of them (``exclude`` apart) have ended."""
        others = self.jobs.exclude(pk=exclude.pk) if exclude else self.jobs.all()
        return self.jobs.exists() and not others.filter(pending.IN_GROUP).exists()

    def latest_executed_job(self) -> Job | None:
        """The job of this group that was executed last."""
        return self.jobs.exclude(executed=None).order_by("executed").last()

    def check_open(self, using: str | None = None) -> None:
        """Raise ValidationError if a job of this group has ended: no other can join it any more."""
        members = Job.objects.using(using or self._state.db or "default").filter(group=self.pk)
        if members.exclude(pending.IN_GROUP).exists():
            raise ValidationError(
                f"No job can join group [{self.reference}] because it has executed jobs."
            )

    def estimate_execution_duration(
        self,
    ) -> tuple[timedelta | None, timedelta | None, timedelta | None]:
        """How long the whole group takes, how long it still takes, and how long it took so far.

        The estimate takes the ended jobs for typical of the rest; three times None without any.
        """
        total = self.jobs.count()
        done = self.jobs.exclude(pending.IN_GROUP).count()
        if not done:
            return None, None, None
        if done == total:
            latest = self.latest_executed_job()
            taken = (latest.executed - self.created) if latest and latest.executed else timedelta()
            return taken, timedelta(), taken
        consumed = timezone.now() - self.created
        estimated = consumed / done * total
        return estimated, estimated - consumed, consumed

    @classmethod
    def latest_group_by_reference(cls, reference: str, using: str | None = None) -> Group:
        """The open group with this reference, or else a new one that copies the description.

        Callers at once get the same group: the second one to insert it meets the unique column,
        waits for the first one's commit, and looks again.
        """
        groups = cls._default_manager.using(using or router.db_for_write(cls))
        for _ in range(2):
            try:
                return cls._find_or_open(groups, reference)
            except ReferenceTaken:
                continue
        return cls._find_or_open(groups, reference)

    @staticmethod
    def _find_or_open(groups: models.QuerySet[Group], reference: str) -> Group:
        same = groups.filter(reference=reference).order_by("created", "id")
        latest = same.last()
        if latest and not latest.has_completed():
            return latest
        # 0.7.3 could leave an older one open as well.
        unfinished = Job.objects.using(groups.db).filter(pending.IN_GROUP, group=OuterRef("pk"))
        if older := same.filter(Exists(unfinished)).last():
            return older
        with transaction.atomic(using=groups.db):
            take_turn(groups.db)
            # Only the group that was looked at gives the reference up: whoever opened another one
            # since then keeps it, and the insert fails.
            if latest:
                groups.filter(pk=latest.pk).update(open_reference=None)
            return groups.create(
                reference=reference,
                open_reference=reference,
                description=latest.description if latest else None,
            )

    def _check_reference_is_free(self, using: str) -> None:
        unfinished = Job.objects.using(using).filter(
            pending.IN_GROUP, group__reference=self.reference
        )
        if unfinished.exclude(group=self.pk).exists():
            raise ReferenceTaken(f"Group reference [{self.reference}] still has unexecuted jobs.")
        others = Group.objects.using(using).exclude(pk=self.pk)
        holder = others.filter(open_reference=self.reference).first()
        if holder and not holder.has_completed():
            raise ReferenceTaken(
                f"Group reference [{self.reference}] has a group that still waits for its jobs."
            )

    def _is_to_hold_its_reference(self) -> bool:
        """A new group is, and one that held another reference before it was given this one."""
        is_newest = self._state.adding or self.open_reference is not None
        return is_newest and self.open_reference != self.reference

    def _take_reference(self, using: str) -> None:
        holders = Group.objects.using(using).filter(open_reference=self.reference)
        holders.update(open_reference=None)
        self.open_reference = self.reference

    def _insert_or_update(self, *args: Any, **kwargs: Any) -> None:
        try:
            with transaction.atomic(using=kwargs["using"]):
                super().save(*args, **kwargs)
        except IntegrityError as error:
            raise ReferenceTaken(
                f"Group reference [{self.reference}] was opened by somebody else just now."
            ) from error

    def _adopt_final(self, using: str) -> None:
        if self.final and self.final.group_id != self.pk:
            self.final.group = self
            self.final.save(using=using)


class ReferenceTaken(ValidationError):
    """Another group with the reference is open."""


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

    class Meta:
        pass

    def __str__(self) -> str:
        return f"{self.executed} : {self.exception}"


class Parent(models.Model):
    """A ``flush_queue`` that runs, with the jobs that it has in hand (see parents.py)."""

    token = models.CharField(max_length=32, unique=True, editable=False)
    host = models.CharField(max_length=255)
    process = models.CharField(max_length=100)
    """Its process id and, where the system tells, the moment of its birth."""
    workers = models.PositiveIntegerField(default=1)
    batch = models.TextField(default="[]")
    """JSON: the id and the attempts of each job in hand, in the order of their hand-out."""
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
