"""The rule from a failed attempt to the job's next state, for all pasts that a job can have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from django_async.outcomes import LOWEST_PRIORITY, History, after_failure, default_backoff

INTEGERS = st.integers(0, 2**31 - 2)
PRIORITIES = st.sampled_from([LOWEST_PRIORITY, 5]) | st.integers(LOWEST_PRIORITY, 2**31 - 1)
BACKOFFS: st.SearchStrategy[Callable[[int], float] | None] = st.none() | st.builds(
    lambda seconds: lambda _: seconds, st.floats(0, allow_infinity=False)
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    attempts = draw(INTEGERS)
    return History(
        attempts=attempts,
        crashes=draw(st.integers(0, attempts)),
        priority=draw(PRIORITIES),
        max_attempts=draw(st.none() | st.sampled_from([1, 2, attempts + 1, attempts + 2])),
        max_crashes=draw(st.none() | st.integers(1, 4)),
        backoff=draw(BACKOFFS),
    )


@given(histories(), st.booleans())
def test_every_failure_counts_as_an_attempt_and_every_death_as_a_crash(
    past: History, died: bool
) -> None:
    state = after_failure(past, died=died)

    assert state.attempts == past.attempts + 1
    assert state.crashes == past.crashes + died


@given(histories(), st.booleans())
def test_a_job_is_discarded_when_and_only_when_its_attempts_or_deaths_are_used_up(
    past: History, died: bool
) -> None:
    used_up = past.max_attempts is not None and past.attempts + 1 >= past.max_attempts
    killed = died and past.max_crashes is not None and past.crashes + 1 >= past.max_crashes

    assert after_failure(past, died=died).discarded == (used_up or killed)


@given(histories())
def test_the_first_death_leaves_the_job_due_with_its_priority(past: History) -> None:
    unharmed = replace(past, crashes=0, max_crashes=None)
    state = after_failure(unharmed, died=True)

    assert state.delay is None
    assert state.priority == past.priority


@given(histories(), st.booleans())
def test_every_other_failure_lowers_the_priority_by_one_within_the_column(
    past: History, died: bool
) -> None:
    state = after_failure(past, died=died and past.crashes > 0)

    assert state.priority == max(past.priority - 1, LOWEST_PRIORITY)


@given(histories(), st.booleans())
def test_the_delay_is_a_number_of_seconds_that_a_date_can_hold(past: History, died: bool) -> None:
    delay = after_failure(past, died=died and past.crashes > 0).delay

    assert delay is not None
    assert 0 <= delay <= 3660 * 86_400


@given(INTEGERS, INTEGERS)
def test_more_failures_never_wait_less(one: int, other: int) -> None:
    fewer, more = sorted((one, other))
    shorter, longer = (
        after_failure(History(past, 0, 5), died=False).delay for past in (fewer, more)
    )

    assert shorter is not None
    assert longer is not None
    assert shorter <= longer


@given(st.integers(1, 10_000))
def test_the_default_is_the_predecessors_curve(failures: int) -> None:
    assert math.isclose(default_backoff(failures), 60 * failures**1.6)


@given(histories().filter(lambda past: past.backoff is not None), st.booleans())
def test_a_back_off_of_the_jobs_own_is_what_it_waits(past: History, died: bool) -> None:
    assert past.backoff is not None
    wanted = past.backoff(past.attempts + 1)
    assert wanted is not None
    delay = after_failure(past, died=died and past.crashes > 0).delay

    assert delay == wanted or (delay is not None and delay < wanted and wanted > 3650 * 86_400 - 1)
