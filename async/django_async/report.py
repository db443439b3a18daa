"""What an operator sees of a pass: a bar on a terminal, lines elsewhere, a summary at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TextIO

from django_async.hints import Hint
from django_async.outcomes import End, Failed, word
from django_async.payload import printable
from django_async.terms import Summary

EACH = 2
"""The verbosity from which on there is a line for each job."""

_UNITS = (("s", 1), ("min", 60), ("h", 3600))


class Lines:
    """One line a job, where the verbosity asks for it."""

    def __init__(
        self,
        write: Callable[[str], object],
        verbosity: int,
        flush: Callable[[], object] = lambda: None,
    ) -> None:
        self._write = write
        self._flush = flush
        self._speaks = verbosity >= 1
        self._each = verbosity >= EACH

    def say(self, line: str) -> None:
        """Something about the whole; whoever reads a pipe gets it at once."""
        if self._speaks:
            self._write(line)
            self._flush()

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

    def say(self, line: str) -> None:
        """Something about the whole, above the bar."""
        self._bar.write(line, file=self._bar.fp)

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
    rate = _told(ended / summary.seconds) if ended and summary.seconds else "0 jobs/s"
    return (
        f"{summary.executed} executed, {summary.failed} failed{cancelled},"
        f" {summary.skipped} skipped"
        f" in {summary.seconds:.2f} s ({rate})"
    )


def _told(rate: float) -> str:
    """In the unit in which it is no fraction, if there is one: a service waits most of its time."""
    unit, seconds = next((one for one in _UNITS if rate * one[1] >= 1), _UNITS[-1])
    number = rate * seconds
    return f"{number:.0f} jobs/{unit}" if number >= 10 else f"{number:#.2g} jobs/{unit}"
