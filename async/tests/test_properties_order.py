"""The order of hand-outs, against a model that knows nothing of pages, probes and heaps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.test import override_settings
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase, TransactionTestCase

from django_async import clock
from django_async.api import schedule
from django_async.fetch import Fetch, Selection
from django_async.hints import Hint
from django_async.models import Group, Job
from suite.oracle import Oracle, Row
from suite.testing import examples, run_pass

ACT = "suite.programs.act"
NOTHING = "suite.jobs.nothing"

INSTANT = timedelta(microseconds=1)
AGO = st.sampled_from([timedelta(days=300), timedelta(hours=2), timedelta(hours=2) - INSTANT])
AHEAD = st.sampled_from([timedelta(days=-300), timedelta(hours=-2)])
"""Times before the pass: few, so that many are equal or next to each other."""

PRIORITIES = st.sampled_from([5, 5, 4, 6, 0, -1, -(2**31), 2**31 - 1])
SCRIPTS = st.sampled_from([[], [], ["raise"], ["mark"], ["leave"], ["raise", "raise"]])
DEADLY = st.sampled_from([[], [], ["raise"], ["die"], ["die", "raise"], ["die", "die"]])


@dataclass(frozen=True)
class Plan:
    """A job to be scheduled."""

    script: list[str] = field(default_factory=list)
    priority: int = 5
    ago: timedelta | None = None
    group: int | None = None
    final: bool = False
    max_attempts: int | None = None
    queue: str = "default"
    name: str = ACT


def plans(scripts: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[Plan]]:
    """Jobs, some of them in groups, some without a time, some to come."""
    plan = st.builds(
        Plan,
        script=scripts,
        priority=PRIORITIES,
        ago=st.none() | AGO | AGO | AHEAD,
        group=st.sampled_from([None, None, 1, 2]),
        final=st.booleans(),
        max_attempts=st.sampled_from([None, None, 1]),
        queue=st.sampled_from(["default", "a", "A", "á", "a "]),
        name=st.sampled_from([ACT, ACT, NOTHING]),
    )
    return st.lists(plan, max_size=6) | st.lists(plan, min_size=8, max_size=16)


SELECTIONS = st.builds(
    Selection,
    prefix=st.sampled_from(["", "", "suite.", "suite.j", ACT, "Suite.", "suite%", "suite_j"]),
    queues=st.lists(st.sampled_from(["default", "a", "A", "b"]), max_size=2).map(tuple),
    which=st.integers(0, 4),
    outof=st.integers(1, 3),
)


class InOneProcess(TestCase):
    @examples(60)
    @given(plans(SCRIPTS), st.integers(1, 5))
    @example([Plan(group=1), Plan(group=1, final=True, priority=4), Plan(priority=5)], 1)
    def test_due_jobs_are_handed_out_in_the_promised_order(
        self, planned: list[Plan], batch_size: int
    ) -> None:
        oracle, now = scheduled(planned)

        with override_settings(ASYNC={"BATCH_SIZE": batch_size}):
            done = run_pass()

        assert done.ids == list(oracle.run_pass(now))
        compare(oracle)

    @examples(30)
    @given(plans(SCRIPTS), st.booleans(), st.none() | st.integers(1, 6), st.integers(1, 5))
    def test_a_failure_or_the_limit_ends_the_pass_after_the_first_of_them(
        self, planned: list[Plan], keep_going: bool, limit: int | None, batch_size: int
    ) -> None:
        oracle, now = scheduled(planned)

        with override_settings(ASYNC={"BATCH_SIZE": batch_size}):
            done = run_pass(keep_going=keep_going, limit=limit)

        assert done.ids == list(oracle.run_pass(now, keep_going=keep_going, limit=limit))
        compare(oracle)

    @examples(40)
    @given(plans(SCRIPTS), SELECTIONS, st.integers(1, 5))
    @example([Plan(queue="A"), Plan(queue="á"), Plan(queue="a")], Selection(queues=("a",)), 3)
    def test_a_selection_runs_its_own_jobs_in_the_same_order(
        self, planned: list[Plan], selection: Selection, batch_size: int
    ) -> None:
        oracle, now = scheduled(planned)

        with override_settings(ASYNC={"BATCH_SIZE": batch_size}):
            done = run_pass(selection=selection)

        assert done.ids == list(oracle.run_pass(now, chosen=lambda row: belongs(row, selection)))
        compare(oracle)

    @examples(20)
    @given(plans(SCRIPTS), plans(SCRIPTS))
    def test_a_pass_is_over_the_jobs_that_were_there_when_it_began(
        self, planned: list[Plan], late: list[Plan]
    ) -> None:
        oracle, now = scheduled(planned)

        done = run_pass(before=lambda: scheduled(late))

        assert done.ids == list(oracle.run_pass(now))


class AcrossWorkers(TransactionTestCase):
    @examples(8)
    @given(plans(DEADLY), st.integers(2, 3), st.integers(1, 5))
    def test_workers_get_the_jobs_in_the_promised_order(
        self, planned: list[Plan], workers: int, batch_size: int
    ) -> None:
        oracle, now = scheduled(planned)
        finals = set(oracle.finals.values())

        with override_settings(ASYNC={"BATCH_SIZE": batch_size}):
            done = run_pass(workers=workers)

        expected = list(oracle.run_pass(now))
        assert sorted(done.ids) == sorted(expected)
        # A death brings its job back, and a last member its final job, at a moment of their own.
        assert firsts(done.ids, finals) == firsts(expected, finals)
        for group, final in oracle.finals.items():
            others = [row.id for row in oracle.members(group) if row.id != final]
            if final in done.ids:
                assert done.ids.index(final) > max(map(last_place(done.ids), others), default=-1)
        compare(oracle)


def scheduled(planned: list[Plan]) -> tuple[Oracle, datetime]:
    """Schedule the jobs, and tell the model of them."""
    oracle, now = Oracle(), clock.now("default")
    groups: dict[int, Group] = {}
    for number, plan in enumerate(planned):
        if plan.group is not None and plan.group not in groups:
            groups[plan.group] = Group.objects.create(reference=f"group {now} {plan.group}")
        group = groups.get(plan.group or 0)
        job = schedule(group=group, **keywords(plan, f"job {number}", now))
        oracle.add(row_of(job, plan, f"job {number}"))
        if group and plan.final and group.pk not in oracle.finals:
            group.on_completion(job)
            oracle.finals[group.pk] = job.pk
    return oracle, now


def keywords(plan: Plan, key: str, now: datetime) -> dict[str, Any]:
    return {
        "function": plan.name,
        "args": [key, plan.script],
        "run_after": None if plan.ago is None else now - plan.ago,
        "priority": plan.priority,
        "meta": {"max_attempts": plan.max_attempts},
        "queue": plan.queue,
    }


def row_of(job: Job, plan: Plan, key: str) -> Row:
    return Row(
        id=job.pk,
        key=key,
        script=plan.script if plan.name == ACT else [],
        priority=plan.priority,
        scheduled=job.scheduled,
        max_attempts=plan.max_attempts,
        group=job.group_id,
        queue=plan.queue,
        name=plan.name,
    )


def belongs(row: Row, selection: Selection) -> bool:
    return (
        row.name.startswith(selection.prefix)
        and (not selection.queues or row.queue in selection.queues)
        and row.id % selection.outof == selection.which % selection.outof
    )


def firsts(ids: list[int], without: set[int]) -> list[int]:
    """The ids in the order in which each came first."""
    return [one for one in dict.fromkeys(ids) if one not in without]


def last_place(ids: list[int]) -> Any:
    """Where an id stands for the last time; -1 if it does not."""
    return lambda one: max((place for place, other in enumerate(ids) if other == one), default=-1)


def compare(oracle: Oracle) -> None:
    """The rows and the model agree on what came of each job."""
    for row in oracle.rows.values():
        job = Job.objects.get(pk=row.id)
        state = job.state if job.state in ("executed", "discarded") else "pending"
        priority = max(row.priority, -(2**31))
        assert (state, job.attempts, job.crashes, job.priority, job.errors.count()) == (
            row.state,
            row.attempts,
            row.crashes,
            priority,
            row.errors,
        )


class WhatPrecedesAHint(TestCase):
    @examples(40)
    @given(
        st.lists(st.tuples(PRIORITIES, st.none() | AGO | AHEAD), max_size=9),
        PRIORITIES,
        st.none() | AGO,
        st.integers(1, 9),
    )
    def test_it_is_what_has_a_higher_priority_or_alone_has_a_time(
        self,
        planned: list[tuple[int, timedelta | None]],
        priority: int,
        ago: timedelta | None,
        limit: int,
    ) -> None:
        now = clock.now("default")
        for its_priority, its_ago in planned:
            when = None if its_ago is None else now - its_ago
            schedule(NOTHING, run_after=when, priority=its_priority)
        reads = Fetch("default", None, Selection())
        there = reads.page(None, 99)
        job = schedule(NOTHING, run_after=None if ago is None else now - ago, priority=priority)
        [hint] = reads.again([job.pk])

        def precedes(other: Hint) -> bool:
            alone_has_a_time = hint.scheduled is None and other.scheduled is not None
            return other.priority > priority or (other.priority == priority and alone_has_a_time)

        assert reads.more_urgent(hint, limit) == [*filter(precedes, there)][:limit]
