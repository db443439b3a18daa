"""Parents that show what they run, without running it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager

from django_async.control import Control, Run
from django_async.models import Parent
from django_async.noticeboard import noticeboard
from django_async.parents import Registration
from suite.together import alive


def show(parent: Registration, *runs: Run) -> None:
    """As this parent, which does not look at others, show these runs; the database keeps them when
    the parent dies."""
    control = Control("default", parent.token)
    control._next_look = math.inf
    control.beat(runs)
    control.board.close()


def clear() -> None:
    """Strike out what parents showed in tests before this one."""
    with closing(noticeboard("default")) as board:
        board.erase({run.parent_id for run in board.runs()})


@contextmanager
def living(*runs: Run, workers: int = 2) -> Iterator[Registration]:
    """Within the block, a parent lives that runs these."""
    parent = Registration("default", workers)

    def begin() -> None:
        parent.stamp([])
        show(parent, *runs)

    with alive(begin):
        yield parent


def dead(*runs: Run) -> Registration:
    """A parent that has died while it ran these."""
    parent = Registration("default")
    Parent.objects.create(token=parent.token, host="fallen", process="1 ended")
    show(parent, *runs)
    return parent
