"""What an operator sees of a pass: a bar on a terminal, lines elsewhere, a summary at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TextIO

from django_async.hints import Hint
from django_async.outcomes import End, Failed, word
from django_async.payload import printable
from django_async.terms import Summary


class Lines:
    """One line a job, where the verbosity asks for it."""

    def __init__(self, write: Callable[[str], object], verbosity: int) -> None:
        self._write = write
        self._each = verbosity >= 2

    def handed_out(self, number: int, hint: Hint) -> None:
        """Nothing to say: a line tells how a job ended."""

    def taken_back(self, number: int, hint: Hint) -> None:
        """Nothing was said of it."""

    def ended(self, outcome: End) -> None:
        if self._each:
            self._write(describe(outcome))

    def close(self) -> None:
        """Nothing is open."""


class Bar:
    """A progress bar with rate and failures."""

    def __init__(self, out: TextIO, total: int | None) -> None:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # its thread would make every fork unsafe
        self._bar: Any = tqdm(total=total, unit="job", file=out, **_size(out))
        self._failed = 0

    def handed_out(self, number: int, hint: Hint) -> None:
        """The bar moves when jobs end."""

    def taken_back(self, number: int, hint: Hint) -> None:
        """It has not moved."""

    def ended(self, outcome: End) -> None:
        if isinstance(outcome, Failed):
            self._failed += 1
            self._bar.set_postfix(failed=self._failed, refresh=False)
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


def _size(out: TextIO) -> dict[str, Any]:
    """As wide as the terminal always, unless it does not know: a container's may have no size, and
    the bar would not be shown at all."""
    known = os.get_terminal_size(out.fileno())
    return {"dynamic_ncols": True} if all(known) else {"ncols": 80, "nrows": 24}


def describe(outcome: End) -> str:
    """One line about a job: its id, its call, how it ended and how long it took."""
    end = word(outcome)
    if isinstance(outcome, Failed):
        end += f": {printable(outcome.failure.exception)[:500]}"
    return f"{outcome.hint.id}: {outcome.label} {end} ({outcome.seconds:.3f} s)"


def summarise(summary: Summary) -> str:
    """One line about the pass."""
    ended = summary.executed + summary.failed + summary.cancelled
    cancelled = f", {summary.cancelled} cancelled" if summary.cancelled else ""
    rate = ended / summary.seconds if summary.seconds else 0.0
    return (
        f"{summary.executed} executed, {summary.failed} failed{cancelled},"
        f" {summary.skipped} skipped"
        f" in {summary.seconds:.2f} s ({rate:.0f} jobs/s)"
    )
