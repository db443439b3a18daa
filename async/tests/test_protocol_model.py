"""The claim protocol keeps its promises whatever comes between what: every order is looked at.

The model is `suite.protocol`. Here is what has to hold in each of the worlds that it can reach; a
world in which something does not is shown with the steps that lead there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pytest
from django.db import connection

from suite import protocol
from suite.world import GONE, SUSPECTED, Flaw, World

pytestmark = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="nothing here meets a database, so that once is enough"
)

BEGINNINGS = ("", SUSPECTED, GONE)
"""The stamps of a job of which nothing is known, of a suspect, and of one that ran alone when all
died."""


class Broken(AssertionError):
    """A promise, with the steps to a world in which it is broken."""


def each_counted_attempt_has_one_end(world: World) -> bool:
    """An error, or else the job's effects."""
    return world.row.errors + world.row.ledger == tuple(range(world.row.attempts))


def effects_are_there_once_if_executed(world: World) -> bool:
    return len(world.row.ledger) == world.row.executed


def a_job_has_one_end(world: World) -> bool:
    return world.row.executed + world.row.cancelled + world.row.discarded <= 1


def what_was_cancelled_stays_so(world: World) -> bool:
    return world.row.cancelled == (world.cancel == "done")


def a_counted_death_has_happened(world: World) -> bool:
    """To an attempt: neither to a parent with idle workers, nor to a job that only waited."""
    return world.row.crashes <= world.struck


def a_death_alone_counts_before_the_job_runs_again(world: World) -> bool:
    running = (one for one in world.pairs if one.step is protocol.run)
    return all(one.attempt not in world.lost for one in running)


def what_ran_when_everybody_died_is_suspected(world: World) -> bool:
    """As soon as the parent is struck out."""
    return all(
        world.row.stamp or not world.row.is_pending or world.row.attempts != one.attempt
        for one in world.pairs
        if one.step is protocol.dead and one.claimed and one.batch is None
    )


def no_lock_is_left(world: World) -> bool:
    return world.lock is None


def the_job_has_ended(world: World) -> bool:
    """Unless nobody is left to bring it there."""
    return not world.row.is_pending or has_death(world)


def an_end_can_be_reached(_: World) -> bool:
    """Asked only about worlds from which none was found."""
    return False


ALWAYS = (
    effects_are_there_once_if_executed,
    each_counted_attempt_has_one_end,
    a_job_has_one_end,
    what_was_cancelled_stays_so,
    a_counted_death_has_happened,
    a_death_alone_counts_before_the_job_runs_again,
    what_ran_when_everybody_died_is_suspected,
)
IN_THE_END = (no_lock_is_left, the_job_has_ended)

Promise = Callable[[World], bool]


def has_death(world: World) -> bool:
    return any(one.step is protocol.dead for one in world.pairs)


@dataclass
class Space:
    """The worlds that were reached, each with the one before and the step from there."""

    origins: dict[World, tuple[World, str] | None] = field(default_factory=dict)
    sources: dict[World, list[World]] = field(default_factory=dict)
    ends: list[World] = field(default_factory=list)

    def explore(self, beginnings: Iterable[World]) -> None:
        """Breadth first, so that no way to a broken promise is shorter than the one shown."""
        self.origins = dict.fromkeys(beginnings)
        waiting = deque(self.origins)
        while waiting:
            world = waiting.popleft()
            self.check(world, ALWAYS)
            following = list(protocol.moves(world))
            if not following:
                self.check(world, IN_THE_END)
                self.ends.append(world)
            waiting.extend(self.add(world, following))

    def add(self, world: World, following: list[tuple[str, World]]) -> Iterator[World]:
        """Those of the worlds that are new."""
        for step, after in following:
            self.sources.setdefault(after, []).append(world)
            if after not in self.origins:
                self.origins[after] = world, step
                yield after

    def check_ways(self) -> None:
        """From each world there is a way to an end."""
        found, waiting = set(self.ends), deque(self.ends)
        while waiting:
            fresh = set(self.sources.get(waiting.popleft(), ())) - found
            found |= fresh
            waiting.extend(fresh)
        for world in self.origins:
            if world not in found:
                self.check(world, (an_end_can_be_reached,))

    def check(self, world: World, promises: Iterable[Promise]) -> None:
        for promise in promises:
            if not promise(world):
                steps = "\n  ".join(self.way_to(world))
                raise Broken(f"{promise.__name__}\n  {steps}\n{world}")

    def way_to(self, world: World) -> list[str]:
        steps = []
        while origin := self.origins[world]:
            world, step = origin
            steps.append(step)
        return [f"stamp: {world.row.stamp!r}", *reversed(steps)]


def explored(flaw: Flaw = Flaw.NONE) -> Space:
    space = Space()
    space.explore(protocol.beginning(stamp, flaw) for stamp in BEGINNINGS)
    space.check_ways()
    return space


def test_no_order_of_events_breaks_a_promise() -> None:
    space = explored()
    assert len(space.origins) > 70_000
    rows = [world.row for world in space.ends]
    assert any(row.executed and row.errors for row in rows)
    assert any(row.cancelled and row.errors for row in rows)
    assert any(row.discarded and row.crashes == 2 for row in rows)
    assert any(row.is_pending for row in rows)
    assert any(is_late_commit(world) for world in space.origins)


def is_late_commit(world: World) -> bool:
    """Whether a dead worker's mark may still be committed, while its parent holds the inquest."""
    holds = world.lock is not None and world.lock.sent and world.lock.holder == protocol.NOBODY
    waits = any(one.step is protocol.inquest and one.died for one in world.pairs)
    return bool(holds and waits and world.lock and world.lock.after.executed)


BROKEN_BY = {
    Flaw.PLAIN_INQUEST: each_counted_attempt_has_one_end,
    Flaw.PLAIN_CANCEL: a_job_has_one_end,
    Flaw.EARLY_MARK: effects_are_there_once_if_executed,
    Flaw.BLIND_CLAIM: each_counted_attempt_has_one_end,
    Flaw.HASTY_JUDGE: a_counted_death_has_happened,
    Flaw.HARSH_JUDGE: a_counted_death_has_happened,
    Flaw.BLIND_JUDGE: a_death_alone_counts_before_the_job_runs_again,
    Flaw.HIDDEN_PARENT: a_counted_death_has_happened,
    Flaw.LEFT_STAMP: a_counted_death_has_happened,
    Flaw.BLIND_FORESIGHT: what_ran_when_everybody_died_is_suspected,
    Flaw.LOST_SUSPICION: what_ran_when_everybody_died_is_suspected,
    Flaw.LASTING_LOCK: no_lock_is_left,
    Flaw.LASTING_LIFE: an_end_can_be_reached,
}


@pytest.mark.parametrize("flaw", [flaw for flaw in Flaw if flaw is not Flaw.NONE])
def test_each_flaw_is_found(flaw: Flaw) -> None:
    with pytest.raises(Broken, match=BROKEN_BY[flaw].__name__):
        explored(flaw)
