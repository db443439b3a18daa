"""Random programs as jobs: what is left in the database is what a model in plain Python says.

The model knows Django's rules: a nested block that is left by an exception, or marked, goes back to
its beginning, hooks included; after a database error that somebody swallowed, nothing more can be
asked in the same block, and the block goes back. And the queue's rule: all of the job or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from hypothesis import event, example, given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase, TransactionTestCase

from django_async.api import schedule
from django_async.models import Error, Job
from suite.models import Account, Note
from suite.programs import Op, Planned, Undo, run
from suite.testing import examples, run_pass

TEXTS = st.sampled_from("abc")
ENDS = st.sampled_from(["keep", "keep", "raise", "mark"])

EFFECTS = st.one_of(
    st.tuples(st.just("note"), TEXTS),
    st.tuples(st.just("rename"), TEXTS, TEXTS),
    st.tuples(st.just("delete"), TEXTS),
    st.tuples(st.just("schedule"), TEXTS),
    st.tuples(st.just("hook"), TEXTS),
    st.just(("bad hook",)),
)
ACCIDENTS = st.sampled_from([("collide",), ("collide raw",), ("mark",), ("raise",), ("leave",)])


def programs(ops: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Programs of these steps, in blocks within blocks."""
    body = st.deferred(lambda: st.lists(step, max_size=5))
    step = st.one_of(
        ops,
        ops,
        st.tuples(st.just("block"), body, ENDS),
        st.tuples(st.just("swallow"), body),
    )
    return st.lists(step, max_size=8).map(lambda program: json.loads(json.dumps(program)))


PEACEFUL = programs(EFFECTS)
"""Programs that run to their end."""
ANY = programs(EFFECTS | EFFECTS | EFFECTS | ACCIDENTS)
"""Programs in which things go wrong."""


class Broken(Exception):
    """The database will not be asked anything in this block any more."""


@dataclass
class World:
    """What a transaction sees, and what it will leave."""

    notes: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    hooks: list[str | None] = field(default_factory=list)
    """Texts that commit hooks will write; None is a hook that fails."""

    def copy(self) -> World:
        return World(list(self.notes), list(self.children), list(self.hooks))

    def become(self, other: World) -> None:
        self.notes, self.children, self.hooks = other.notes, other.children, other.hooks


@dataclass
class Block:
    """An atomic block of Django's, the innermost one in which a program is."""

    is_savepoint: bool = True
    marked: bool = False
    """Django knows that it must go back."""
    aborted: bool = False
    """The server will take no more statements."""


class Model:
    """Runs a program in plain Python."""

    def __init__(self, world: World, *, errors_abort: bool) -> None:
        self.world = world
        self.errors_abort = errors_abort
        self.block = Block()
        self.verbs: dict[str, Callable[..., None]] = {
            "note": self.note,
            "rename": self.rename,
            "delete": self.delete,
            "schedule": self.schedule,
            "hook": self.world_hook,
            "bad hook": self.world_hook,
            "block": self.nested,
            "swallow": self.swallow,
            "collide": self.collide,
            "collide raw": self.collide_raw,
            "mark": self.mark,
            "raise": self.fail,
            "leave": self.leave,
        }

    def execute(self, program: list[Op]) -> bool:
        """Whether the job succeeds; if not, the world is as it was."""
        before = self.world.copy()
        try:
            self.run(program)
        except (Planned, Broken, SystemExit):
            self.block.marked = True
        if self.block.marked or self.block.aborted:
            self.world.become(before)
            return False
        return True

    def run(self, program: list[Op]) -> None:
        for verb, *operands in program:
            self.verbs[verb](*operands)

    def ask(self) -> None:
        if self.block.marked or self.block.aborted:
            self.block.marked = True  # for now Django has seen an error
            raise Broken

    def note(self, text: str) -> None:
        self.ask()
        self.world.notes.append(text)

    def rename(self, old: str, new: str) -> None:
        self.ask()
        self.world.notes = [new if text == old else text for text in self.world.notes]

    def delete(self, text: str) -> None:
        self.ask()
        self.world.notes = [other for other in self.world.notes if other != text]

    def schedule(self, text: str) -> None:
        self.ask()
        self.world.children.append(text)

    def world_hook(self, text: str | None = None) -> None:
        self.world.hooks.append(text)

    def nested(self, program: list[Op], end: str) -> None:
        outer, before = self.block, self.world.copy()
        if outer.aborted and not outer.marked:
            raise Broken  # SAVEPOINT itself is refused
        self.block = Block(is_savepoint=not outer.marked, marked=outer.marked)
        self.block.aborted = outer.aborted
        try:
            left_by = self._left_by(program, end)
        finally:
            inner, self.block = self.block, outer
        self._leave_block(inner, before, left_by)
        if left_by is not None and not isinstance(left_by, Undo):
            raise left_by

    def _left_by(self, program: list[Op], end: str) -> BaseException | None:
        try:
            self.run(program)
        except (Planned, Broken, SystemExit) as error:
            return error
        if end == "mark":
            self.block.marked = True
        return Undo() if end == "raise" else None

    def _leave_block(self, inner: Block, before: World, left_by: BaseException | None) -> None:
        if not inner.is_savepoint:
            self.block.marked = True
        elif left_by is not None or inner.marked:
            self.world.become(before)
        elif inner.aborted:
            self.world.become(before)
            raise Broken  # RELEASE was refused, and the savepoint gone back to

    def swallow(self, program: list[Op]) -> None:
        try:
            self.run(program)
        except (Planned, Broken):
            pass

    def collide(self) -> None:
        self.ask()
        self.block.marked = True
        self.block.aborted = self.errors_abort

    def collide_raw(self) -> None:
        if self.block.marked or self.block.aborted:
            raise Broken
        self.block.aborted = self.errors_abort

    def mark(self) -> None:
        self.block.marked = True

    def fail(self) -> None:
        raise Planned

    def leave(self) -> None:
        raise SystemExit


class InOneProcess(TestCase):
    @examples(250)
    @given(ANY, st.lists(TEXTS, max_size=3))
    @example([["collide"], ["hook", "a"]], [])
    @example([["block", [["swallow", [["collide raw"], ["note", "a"]]]], "keep"]], [])
    @example([["block", [["swallow", [["collide raw"], ["collide raw"]]]], "keep"]], [])
    @example([["swallow", [["block", [["note", "a"], ["raise"]], "keep"]]], ["note", "b"]], [])
    def test_a_job_leaves_all_that_it_did_or_its_error_alone(
        self, program: list[Op], there_before: list[str]
    ) -> None:
        check(program, there_before, workers=0)

    @examples(60)
    @given(PEACEFUL, st.lists(TEXTS, max_size=3))
    def test_blocks_that_are_undone_leave_the_rest_of_the_job(
        self, program: list[Op], there_before: list[str]
    ) -> None:
        assert check(program, there_before, workers=0)


class WithRealCommits(TransactionTestCase):
    @examples(20)
    @given(ANY, st.lists(TEXTS, max_size=3))
    def test_a_committed_job_leaves_all_that_it_did_or_its_error_alone(
        self, program: list[Op], there_before: list[str]
    ) -> None:
        check(program, there_before, workers=0)

    @examples(8)
    @given(ANY, st.lists(TEXTS, max_size=3))
    def test_a_worker_leaves_all_that_its_job_did_or_its_error_alone(
        self, program: list[Op], there_before: list[str]
    ) -> None:
        check(program, there_before, workers=1)


def check(program: list[Op], there_before: list[str], *, workers: int) -> bool:
    """Run the program as a job and in the model, and compare; whether it succeeds."""
    Account.objects.create(name="taken")
    Note.objects.bulk_create(Note(text=text) for text in there_before)
    job = schedule(run, [program, program], meta={"backoff": 3600})

    run_pass(workers=workers)

    world = World(list(there_before))
    succeeds = Model(world, errors_abort=connection.vendor == "postgresql").execute(program)
    event("executed" if succeeds else "failed")
    hooks = [f"hook {text}" for text in world.hooks if text is not None]
    assert list(Note.objects.order_by("id").values_list("text", flat=True)) == world.notes + hooks
    assert _children(job) == world.children
    _check_row(Job.objects.get(pk=job.pk), program, succeeds)
    assert Account.objects.count() == 1
    return succeeds


def _children(job: Job) -> list[str]:
    rows = Job.objects.exclude(pk=job.pk).order_by("id").values_list("args", flat=True)
    return [json.loads(args)[0] for args in rows]


def _check_row(job: Job, program: list[Op], succeeds: bool) -> None:
    assert job.attempts == 1
    assert Error.objects.count() == (0 if succeeds else 1)
    assert job.errors.count() == Error.objects.count()
    if succeeds:
        assert job.executed is not None
        assert json.loads(job.result) == program
        assert job.priority == 5
    else:
        assert (job.executed, job.started, job.result) == (None, None, "")
        assert job.scheduled is not None
        assert job.priority == 4
