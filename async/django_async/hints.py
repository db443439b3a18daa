"""A hint: a job that looked due when it was read. It promises nothing; the claim decides."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

SUSPECTED = "suspected"
"""What Job.stamp says of a job that may have taken everybody with it."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A due job as a plain read saw it."""

    id: int
    attempts: int
    priority: int
    scheduled: Any
    """As the driver gave it, and as it goes back into the next page's condition."""
    group: int | None
    meta: str = "{}"
    stamp: str | None = None
    """See Job.stamp."""
    started: Any = None
    """When an attempt without a transaction began that has not ended: it runs, or its owner is
    dead."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled in half the time that the way of dataclasses takes: each job goes out as one."""
        return Hint, _values(self)

    @property
    def suspected(self) -> bool:
        """Whether everything may have died with an earlier attempt: such jobs run one by one."""
        return self.stamp is not None

    @property
    def order(self) -> tuple[Any, ...]:
        """Priority descending; then by time, jobs without one last; then by id."""
        if self.scheduled is None:
            return (-self.priority, 1, self.id)
        return (-self.priority, 0, self.scheduled, self.id)


_values = attrgetter(*Hint.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Share:
    """The ids that a parent takes first: beside others who walk through the same jobs in the same
    order, it would otherwise meet one of them at every job."""

    rank: int = 0
    parents: int = 1

    def of(self, hints: list[Hint]) -> list[Hint]:
        """The parent's own hints. If there are none, the later half of all: each of them is
        somebody else's, who comes to it from the front."""
        own = [hint for hint in hints if self.owns(hint.id)]
        return own or hints[len(hints) // 2 :]

    def owns(self, job_id: int) -> bool:
        """Whether the parent is the one to take the job first."""
        return job_id % self.parents == self.rank
