"""A hint: a job that looked due when it was read. It promises nothing; the claim decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

SUSPECTED = "suspected"
"""What Job.stamp says of a job that may have taken everybody with it."""


class Compact:
    """Pickles a frozen dataclass with slots in a third of the time that dataclasses' own way takes:
    each job is a hint on its way out and an outcome on its way back."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __reduce__(self) -> tuple[Any, ...]:
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        return _rebuild, (type(self), values)


def _rebuild(kind: type[Compact], values: list[Any]) -> Compact:
    rebuilt = object.__new__(kind)
    for name, value in zip(kind.__dataclass_fields__, values, strict=True):
        object.__setattr__(rebuilt, name, value)
    return rebuilt


@dataclass(frozen=True, slots=True)
class Hint(Compact):
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
