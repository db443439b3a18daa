"""A model of the queue in plain Python: what the database has to look like, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

FAILURES = frozenset(["raise", "leave", "mark", "close"])
"""The steps of a script whose attempt leaves nothing but an error."""

DEATHS = frozenset(["die", "kill all"])
"""The steps that the worker does not survive."""

MAX_CRASHES = 3

NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class Row:
    """What is expected of one job."""

    id: int
    key: str
    script: Sequence[str] = ()
    priority: int = 5
    scheduled: datetime | None = None
    max_attempts: int | None = None
    group: int | None = None
    queue: str = "default"
    name: str = "suite.programs.act"
    state: str = "pending"
    attempts: int = 0
    crashes: int = 0
    errors: int = 0
    suspicion: str = ""
    """``suspected`` if everybody died with an attempt; ``alone`` if the last attempt was made under
    suspicion, and everybody died again."""
    moved: bool = False
    """Whether a failure has set a new time, which is not known exactly."""

    @property
    def order(self) -> tuple[int, bool, datetime, int]:
        """Priority descending; then by time, those without one last; then by id."""
        return (-self.priority, self.scheduled is None, self.scheduled or NEVER, self.id)

    @property
    def step(self) -> str:
        """What the next attempt will do."""
        return self.script[self.attempts] if self.attempts < len(self.script) else "ok"

    @property
    def is_pending(self) -> bool:
        return self.state == "pending"

    def take_up_again(self, time: datetime) -> None:
        """Give it another time, of which the moment of the call is not known exactly."""
        self.state, self.scheduled, self.moved = "pending", time, True


@dataclass
class Oracle:
    """The queue as it should be."""

    rows: dict[int, Row] = field(default_factory=dict)
    finals: dict[int, int] = field(default_factory=dict)
    """The final job of a group."""
    notes: Counter[str] = field(default_factory=Counter)
    """The effects that were kept."""
    everybody_died: bool = False
    """Whether the last pass ended with the death of its parent and workers."""
    children: list[str] = field(default_factory=list)
    """Keys of the jobs that jobs have scheduled, whose ids are not known yet."""

    def add(self, row: Row) -> None:
        self.rows[row.id] = row

    def members(self, group: int) -> list[Row]:
        return [row for row in self.rows.values() if row.group == group]

    def waits(self, row: Row) -> bool:
        """Whether it is the final job of a group in which another one has not ended."""
        if row.group is None or self.finals.get(row.group) != row.id:
            return False
        return any(other.is_pending for other in self.members(row.group) if other is not row)

    def scheduled(self) -> list[Row]:
        """The pending jobs that have a time."""
        return [row for row in self.rows.values() if row.is_pending and row.scheduled]

    def due(self, now: datetime) -> list[Row]:
        """The pending jobs whose time has come, final ones that wait included."""
        return [
            row
            for row in self.rows.values()
            if row.is_pending and (row.scheduled is None or row.scheduled <= now)
        ]

    def run_pass(
        self,
        now: datetime,
        *,
        keep_going: bool = True,
        limit: int | None = None,
        chosen: Callable[[Row], bool] = lambda _: True,
    ) -> Iterator[int]:
        """Make a pass of one worker, yielding the ids in the order of their hand-out."""
        self.everybody_died = False
        waiting = [row for row in self.due(now) if chosen(row)]
        while limit is None or limit > 0:
            ready = [row for row in waiting if not self.waits(row)]
            if not ready:
                return
            row = min(ready, key=lambda row: row.order)
            yield row.id
            failed = row.step in FAILURES or row.step in DEATHS
            if self.kills_everybody(row):
                self.everybody_died = True
                return
            if not self.attempt(row, now):
                waiting.remove(row)
            if failed and not keep_going:
                return
            limit = None if limit is None else limit - 1

    def kills_everybody(self, row: Row) -> bool:
        """Whether the job's attempt ends the parent and its workers. Nobody is left to count that;
        after an attempt under suspicion, the next parent knows, and counts it instead."""
        if row.step != "kill all" or row.suspicion == "alone":
            return False
        row.suspicion = "alone" if row.suspicion else "suspected"
        return True

    def attempt(self, row: Row, now: datetime) -> bool:
        """Attempt the job once; whether it is due again at once."""
        step = row.step
        row.attempts += 1
        row.suspicion = "suspected" if step == "kill all" else ""
        if step not in FAILURES and step not in DEATHS:
            row.state = "executed"
            self.notes[row.key] += 1
            if step == "child":
                self.children.append(f"child of {row.key}")
            return False
        row.errors += 1
        row.crashes += step in DEATHS
        is_free = step in DEATHS and row.crashes == 1
        if not is_free:
            row.priority -= 1
        used_up = row.max_attempts is not None and row.attempts >= row.max_attempts
        if used_up or (step in DEATHS and row.crashes >= MAX_CRASHES):
            row.state = "discarded"
        elif not is_free:
            row.scheduled, row.moved = now + back_off(row.attempts), True
        return row.is_pending and is_free

    def cancel(self, key: str, script: Sequence[str]) -> int:
        """Cancel the pending jobs that are this call; how many there were."""
        found = [
            row
            for row in self.rows.values()
            if row.is_pending and row.key == key and list(row.script) == list(script)
        ]
        for row in found:
            row.state = "cancelled"
        return len(found)


def back_off(attempts: int) -> timedelta:
    """How long a job waits after so many failed attempts."""
    return timedelta(seconds=60 * attempts**1.6)
