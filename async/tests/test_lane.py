"""One database's part of an engine."""

from __future__ import annotations

from typing import Any

import pytest

from django_async.api import schedule_many
from suite import jobs
from suite.service import Service, Time
from suite.spying import each_statement

pytestmark = pytest.mark.django_db(transaction=True)

HAS_LOOKED, JUMPS = 3, 8
"""At which of its questions what time it is the decision has fallen that nothing is to be looked
for; and more of them than there are."""


class Jumping(Time):
    """An hour passes before it is asked for the n-th time."""

    left = -1

    def __call__(self) -> float:
        self.left -= 1
        if self.left == 0:
            self.now += 3600.0
        return super().__call__()


@pytest.mark.parametrize("number", range(1, JUMPS + 1))
def test_whatever_the_time_each_statement_is_one_that_may_fail(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may go away before any of them: only what goes through the access waits for it.
    By the moment it may be time to look for something though a moment before it was not."""
    monkeypatch.setattr("suite.service.Time", Jumping)
    service = Service()
    [lane] = service.lanes
    schedule_many([{"function": jobs.note}] * 5)
    lane.open()
    assert lane.next()
    service.time.left = number  # type: ignore[attr-defined]
    sent: list[Any] = []

    def see(sql: str, params: Any) -> None:
        sent.append(sql)
        assert lane.access.busy, sql

    with each_statement(see):
        assert lane.next()
    assert bool(sent) is (number < HAS_LOOKED)
    lane.close()
