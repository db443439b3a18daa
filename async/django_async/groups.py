"""Groups: jobs that belong together."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, router, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from django_async import pending
from django_async.payload import printable
from django_async.turn import take_turn

if TYPE_CHECKING:
    from django_async.models import Job, JobQuerySet


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
        return printable(self.reference)

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
        members = _jobs(using or self._state.db or "default").filter(group=self.pk)
        if members.exclude(pending.IN_GROUP).exists():
            raise ValidationError(
                f"No job can join group [{self.reference}] because it has executed jobs."
            )

    def check_may_reopen(self, using: str) -> None:
        """Raise ValidationError if a job of this group cannot be run again: all have ended, and the
        reference means another group by now, which is open."""
        if not self.jobs.using(using).filter(pending.IN_GROUP).exists():
            self._check_reference_is_free(using)

    def estimate_execution_duration(
        self,
    ) -> tuple[timedelta | None, timedelta | None, timedelta | None]:
        """How long the whole group takes, how long it still takes, and how long it took so far.

        The estimate takes the ended jobs for typical of the rest; three times None without any.
        """
        total = self.jobs.count()
        done = self.jobs.exclude(pending.IN_GROUP).count()
        latest = self.latest_executed_job() if done == total else None
        return self.estimate_from(total, done, latest.executed if latest else None)

    def estimate_from(
        self, total: int, done: int, latest: datetime | None
    ) -> tuple[timedelta | None, timedelta | None, timedelta | None]:
        """The same, from what is known already: how many jobs there are, how many of them have
        ended, and when the last one was executed (which matters if all have ended)."""
        if not done:
            return None, None, None
        if done == total:
            taken = (latest - self.created) if latest else timedelta()
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
        unfinished = _jobs(groups.db).filter(pending.IN_GROUP, group=OuterRef("pk"))
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
        unfinished = _jobs(using).filter(pending.IN_GROUP, group__reference=self.reference)
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


def _jobs(using: str) -> JobQuerySet:
    from django_async.models import Job  # which refers to groups

    jobs: JobQuerySet = Job.objects.using(using)
    return jobs
