"""What a fork does to the connections of the process that forks: nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from django_async.api import schedule_many
from django_async.models import Error, Job
from suite.jobs import note

pytestmark = pytest.mark.django_db(transaction=True)

_closes: list[bool] = []
"""Whether the hook does what it is there for: it cannot be taken back."""


def _close_all() -> None:
    if _closes:
        connections.close_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)


@pytest.fixture
def closes() -> Iterator[None]:
    """A project has each child close all connections, as the documentation of others advises."""
    _closes.append(True)
    yield
    _closes.clear()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")
def test_a_project_may_have_each_child_close_all_connections(
    closes: None, flush: Callable[..., Any]
) -> None:
    schedule_many({"function": note} for _ in range(6))
    assert flush(workers=2, max_jobs_per_worker=1).status == 0
    assert list(Job.objects.values_list("attempts", flat=True)) == [1] * 6
    assert Job.objects.executed().count() == 6
    assert not Error.objects.exists()
