"""Calls as they are stored: their way through JSON, through each database, and to the worker."""

from __future__ import annotations

import hashlib
import json
import math
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from django_async.api import deschedule, schedule, schedule_many
from django_async.models import Group, Job
from suite.programs import echo
from suite.testing import examples

NAME = "suite.programs.echo"

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters()),  # with NUL and lone surrogates: JSON escapes them
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=8), inner, max_size=4),
    ),
    max_leaves=12,
)
ARGS = st.lists(VALUES, max_size=4) | st.lists(VALUES, max_size=4).map(tuple)
KEYWORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
KWARGS = st.dictionaries(KEYWORDS, VALUES, max_size=4)

UNSTORABLE = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, object(), {1}, b"bytes", 1j, echo, ...]),
    st.builds(Decimal, st.integers()),
    st.dates(),
    st.uuids(),
    st.dictionaries(st.integers() | st.none() | st.floats(), SCALARS, min_size=1),
)


def as_json_has_it(value: Any) -> Any:
    """The value with lists for its tuples, which is all that may change on the way."""
    if isinstance(value, (list, tuple)):
        return [as_json_has_it(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json_has_it(item) for key, item in value.items()}
    return value


def same(one: Any, other: Any) -> bool:
    """Equal, of equal types all the way down, and with one sign of zero."""
    return repr(one) == repr(other) and one == other


def identity_of_0_7_3(name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    """As the predecessor's ``Job.save`` made it, written anew from its description."""
    words = list(map(repr, args))
    words.extend(sorted(key + "=" + repr(kwargs[key]) for key in kwargs))
    return hashlib.sha1((name + "(" + ", ".join(words) + ")").encode()).hexdigest()


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[list[Any], dict[str, Any], str]:
    """Arguments that cannot be stored, and how the refusal names the place."""
    culprit, where = draw(UNSTORABLE), ""
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            before = draw(st.lists(VALUES, max_size=2))
            culprit, where = [*before, culprit, draw(VALUES)], f"[{len(before)}]{where}"
        else:
            key = draw(KEYWORDS)
            culprit, where = {key: culprit}, f"[{key!r}]{where}"
    if draw(st.booleans()):
        before = draw(st.lists(VALUES, max_size=2))
        return [*before, culprit], draw(KWARGS), f"args[{len(before)}]{where}"
    key = draw(KEYWORDS)
    return draw(st.lists(VALUES, max_size=2)), {key: culprit}, f"kwargs[{key!r}]{where}"


class Payloads(TestCase):
    @examples(40)
    @given(ARGS, st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
    @example([10**400, -0.0, 5e-324, "\0\ud800", [[], {}, ()]], {"": "", "\0": 1, "a b": 2})
    def test_a_job_is_called_with_what_it_was_scheduled_with(self, args: Any, kwargs: Any) -> None:
        job = schedule(echo, args, kwargs)

        got_args, got_kwargs = job.execute()

        assert same(list(got_args), as_json_has_it(args))
        assert same(got_kwargs, as_json_has_it(kwargs))

    @examples(40)
    @given(ARGS, KWARGS)
    def test_the_row_holds_the_call_its_result_and_the_predecessors_identity(
        self, args: Any, kwargs: Any
    ) -> None:
        job = schedule(echo, args, kwargs)
        job.execute()
        stored = Job.objects.get(pk=job.pk)

        assert same(json.loads(stored.args), as_json_has_it(args))
        assert same(json.loads(stored.kwargs), as_json_has_it(kwargs))
        assert same(json.loads(stored.result), [as_json_has_it(args), as_json_has_it(kwargs)])
        assert stored.identity == identity_of_0_7_3(
            NAME, as_json_has_it(args), as_json_has_it(kwargs)
        )
        assert hashlib.sha1(str(stored).encode()).hexdigest() == stored.identity

    @examples(30)
    @given(st.lists(st.tuples(ARGS, KWARGS, st.integers(-(2**31), 2**31 - 1)), max_size=8))
    def test_many_jobs_are_stored_as_one_by_one(self, calls: list[Any]) -> None:
        keywords = [
            {"function": echo, "args": args, "kwargs": kwargs, "priority": priority}
            for args, kwargs, priority in calls
        ]
        together = schedule_many(keywords)
        singly = [schedule(**one) for one in keywords]

        assert [_columns(job) for job in together] == [_columns(job) for job in singly]
        assert [job.pk for job in together] == sorted({job.pk for job in together})

    @examples(40)
    @given(spoilt(), st.booleans(), st.integers(0, 2))
    def test_what_json_cannot_hold_is_refused_by_its_place_and_nothing_is_written(
        self, call: tuple[list[Any], dict[str, Any], str], many: bool, index: int
    ) -> None:
        args, kwargs, place = call
        good: dict[str, Any] = {"function": echo}
        bad = {**good, "args": args, "kwargs": kwargs}

        with pytest.raises((TypeError, ValueError), match=re.escape(place)) as refusal:
            schedule_many([*[good] * index, bad, good]) if many else schedule(**bad)

        assert not many or f"jobs[{index}]" in str(refusal.value)
        assert not Job.objects.exists()

    @examples(40)
    @given(st.text(st.characters()) | st.integers() | st.none() | st.dictionaries(SCALARS, SCALARS))
    def test_only_lists_and_tuples_are_positional_arguments(self, args: Any) -> None:
        if args is None:
            assert schedule(echo, args).args == "[]"
            return
        with pytest.raises(TypeError, match="args"):
            schedule(echo, args)
        assert not Job.objects.exists()

    @examples(40)
    @given(
        st.text(st.characters(), max_size=110),
        st.sampled_from(["queue", "group"]),
        st.booleans(),
    )
    @example("\0", "queue", False)
    @example("\0", "group", False)
    @example("\ud800", "queue", True)
    @example("\ud800", "group", True)
    def test_a_text_comes_back_as_it_was_or_is_refused_by_name(
        self, text: str, field: str, many: bool
    ) -> None:
        job = job_or_refusal({"function": echo, field: text}, many)

        if isinstance(job, str):
            assert field in job
            assert not Job.objects.exists()
            assert not Group.objects.exists()
        else:
            job = Job.objects.select_related("group").get(pk=job.pk)
            assert text == (job.group.reference if field == "group" and job.group else job.queue)

    @examples(40)
    @given(st.text(st.characters(), max_size=8), st.booleans())
    @example("\ud800", False)
    def test_any_text_names_a_keyword_argument_or_is_refused_by_its_place(
        self, key: str, many: bool
    ) -> None:
        job = job_or_refusal({"function": echo, "kwargs": {key: 1}}, many)

        if isinstance(job, str):
            assert "kwargs" in job
            assert not Job.objects.exists()
        else:
            assert Job.objects.get(pk=job.pk).execute() == [(), {key: 1}]

    @examples(40)
    @given(st.lists(st.tuples(ARGS, KWARGS), min_size=2, max_size=5), st.data())
    def test_two_jobs_share_an_identity_if_and_only_if_their_calls_are_equal(
        self, calls: list[Any], data: st.DataObject
    ) -> None:
        calls = [*calls, data.draw(st.sampled_from(calls).map(_in_another_order))]
        jobs = [schedule(echo, args, kwargs) for args, kwargs in calls]

        for job, call in zip(jobs, calls, strict=True):
            for other, other_call in zip(jobs, calls, strict=True):
                equal = _as_text(call) == _as_text(other_call)
                assert (job.identity == other.identity) == equal

    @examples(25)
    @given(st.lists(st.tuples(ARGS, KWARGS), max_size=5), st.tuples(ARGS, KWARGS), st.data())
    def test_deschedule_cancels_the_equal_calls_and_no_others(
        self, others: list[Any], unwanted: Any, data: st.DataObject
    ) -> None:
        calls = data.draw(st.permutations([*others, unwanted, _in_another_order(unwanted)]))
        jobs = schedule_many([{"function": echo, "args": a, "kwargs": k} for a, k in calls])
        equal = [
            job.pk
            for job, call in zip(jobs, calls, strict=True)
            if _as_text(call) == _as_text(unwanted)
        ]

        assert deschedule(echo, *unwanted) == len(equal)
        assert sorted(Job.objects.cancelled().values_list("pk", flat=True)) == equal


def job_or_refusal(call: dict[str, Any], many: bool) -> Job | str:
    """The job that the call became, or what its refusal said."""
    try:
        return schedule_many([call])[0] if many else schedule(**call)
    except (TypeError, ValueError) as refusal:
        return str(refusal)


def _columns(job: Job) -> dict[str, Any]:
    """The stored row, less what is its own: its id and its moment."""
    row = Job.objects.filter(pk=job.pk).values().get()
    return {name: value for name, value in row.items() if name not in ("id", "added")}


def _in_another_order(call: tuple[Any, dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    """The same call: keywords have no order."""
    args, kwargs = call
    return args, dict(reversed(kwargs.items()))


def _as_text(call: tuple[Any, dict[str, Any]]) -> str:
    """What makes a call equal to another one: its JSON, the keywords put in order."""
    args, kwargs = call
    return json.dumps([args, sorted(kwargs.items())])
