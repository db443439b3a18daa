"""Whatever is asked for while a job runs, and between its attempts: it is left to its attempt, and
what was asked for is done afterwards. Compared with a model, after each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from django_async import schedule
from django_async.api import deschedule
from django_async.control import Control, Run
from django_async.errors import JobEnded, JobNotRunnable
from django_async.models import Error, Job
from suite import calls
from suite.models import Note
from suite.testing import examples
from suite.together import DEADLINE, beside

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = [
    "cancel",
    "deschedule",
    "deschedule running",
    "retry",
    "reschedule",
    "retry failed",
    "beat of its parent",
    "beat of another",
]
ATTEMPTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(ASKED), max_size=5),
        st.sampled_from(["raise", "raise", "return", "interrupted"]),
        st.lists(st.sampled_from(ASKED), max_size=4),
    ),
    min_size=1,
    max_size=3,
)
"""Of each attempt: what is asked for while it runs, how it ends, what is asked for then."""

Attempts = list[tuple[list[str], str, list[str]]]


@pytest.fixture
def control() -> Iterator[Control]:
    """A parent with an empty noticeboard."""
    control = Control("default", "1" * 32)
    control.board.drop(control.board.requests())
    yield control
    control.clear()


@pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "detached"])
def test_a_running_job_is_left_to_its_attempt_and_then_is_what_was_asked_for(
    control: Control, *, atomic: bool
) -> None:
    if atomic and connection.vendor == "sqlite":
        pytest.skip("who asks for another time waits there for the job, which has the writer")

    @examples(25)
    @given(ATTEMPTS)
    def holds(attempts: Attempts) -> None:
        ends = [end for _, end, _ in attempts]
        story = Story(ends, control, atomic=atomic)
        for meanwhile, end, afterwards in attempts:
            if story.state in {"executed", "cancelled"}:
                break
            story.attempt(meanwhile, end)
            for what in afterwards:
                story.ask(what)
        story.ask("beat of another")
        assert control.board.requests() == []
        story.forget()

    holds()


class Story:
    """One job, what happens to it, and what the model says of it."""

    def __init__(self, ends: list[str], control: Control, *, atomic: bool) -> None:
        self.ends, self.control, self.is_atomic = ends, control, atomic
        self.job = schedule(calls.ends_as_planned, [ends], meta={"atomic": atomic})
        self.state, self.runs, self.asked = "due", False, False
        self.attempts = self.errors = self.effects = 0

    def attempt(self, meanwhile: list[str], end: str) -> None:
        """One attempt, and what is asked for while it runs."""
        calls.close_gate()
        with beside(Job.objects.get(pk=self.job.pk).execute) as running:
            try:
                assert calls.arrived.wait(DEADLINE)
                self.runs = True
                for what in meanwhile:
                    self.ask(what)
            finally:
                calls.gate.set()
            assert bool(running.exception(DEADLINE)) is (end != "return")
        self.runs = False
        self.attempts += 1
        self.errors += end != "return"
        self.effects += end == "return" or not self.is_atomic
        self.state = {"return": "executed", "raise": "failed", "interrupted": "cancelled"}[end]
        self.check()

    def ask(self, what: str) -> None:
        """Ask for it: nothing becomes of a running job by that."""
        job = Job.objects.get(pk=self.job.pk)
        match what:
            case "cancel":
                with self.refused(JobEnded, self.has_ended):
                    assert job.cancel() is (not self.runs)
                    self.cancel()
            case "deschedule":
                found = not (self.runs or self.has_ended)
                assert self.deschedule(running=False) == found
                self.state = "cancelled" if found else self.state
            case "deschedule running":
                found = not self.has_ended
                assert self.deschedule(running=True) == found
                if found:
                    self.cancel()
            case "retry" | "reschedule":
                act: Callable[[], object] = (
                    job.retry if what == "retry" else lambda: job.reschedule(timedelta(days=1))
                )
                with self.refused(JobNotRunnable, self.runs or self.state == "executed"):
                    act()
                    self.take_up_again()
            case "retry failed":
                failed = not (self.runs or self.has_ended) and self.attempts > 0
                assert Job.objects.filter(pk=job.pk).retry_failed() == failed
                self.asked = self.asked and not failed
            case "beat of its parent" if self.runs:
                wanted = self.control.beat([Run(job.pk, self.attempts + 1, 4711, 1.0)])
                assert wanted == ({job.pk} if self.asked else set())
            case _:
                assert self.control.beat([]) == set()
                if self.asked and not self.runs:
                    self.asked = False
                    self.state = self.state if self.has_ended else "cancelled"
        self.check()

    def refused(self, error: type[Exception], is_refused: bool) -> AbstractContextManager[object]:
        return pytest.raises(error) if is_refused else nullcontext()

    def deschedule(self, *, running: bool) -> int:
        return deschedule(calls.ends_as_planned, [self.ends], running=running)

    @property
    def has_ended(self) -> bool:
        return self.state in {"executed", "cancelled"}

    def cancel(self) -> None:
        if self.runs:
            self.asked = True
        else:
            self.state = "cancelled"

    def take_up_again(self) -> None:
        self.asked = False
        self.state = "failed" if self.attempts else "due"

    def check(self) -> None:
        """The row is what the model says."""
        job = Job.objects.get(pk=self.job.pk)
        if self.runs:
            assert (job.executed, job.cancelled, job.discarded) == (None, None, None)
            return
        assert (job.state, job.attempts) == (self.state, self.attempts)
        assert (job.errors.count(), Note.objects.count()) == (self.errors, self.effects)

    def forget(self) -> None:
        """Leave nothing for the next one."""
        for model in (Error, Job, Note):
            model.objects.all().delete()
