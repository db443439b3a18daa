"""What came out, for people and for documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from faults.scale import Figures

PASSED, FAILED, NOT_RUN = "passed", "FAILED", "not run"


@dataclass(frozen=True, slots=True)
class Result:
    """A scenario on a database."""

    scenario: str
    database: str
    outcome: str
    seconds: float = 0.0
    figures: Figures = field(default_factory=dict)
    problem: str = ""

    def line(self) -> str:
        """All of it on one line; a failure's explanation follows."""
        head = f"{self.outcome:7}  {self.scenario} on {self.database}, {self.seconds:.1f} s"
        return "\n  ".join([f"{head}  {shown(self.figures)}".rstrip(), *self.problem.splitlines()])


def shown(figures: Figures) -> str:
    """The figures in a row."""
    return ", ".join(f"{name}: {value}" for name, value in figures.items())


def table(results: Sequence[Result]) -> str:
    """Scenarios down, databases across."""
    rows = [["", *_databases(results)], *_rows(results, lambda result: result.outcome)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def markdown(results: Sequence[Result]) -> str:
    """The same for a document, with the figures."""
    rows = [
        ["scenario", *_databases(results)],
        ["---"] * (1 + len(_databases(results))),
        *_rows(results, lambda result: f"{result.outcome}; {shown(result.figures)}".rstrip("; ")),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def closing(results: Iterable[Result]) -> str:
    """The last line."""
    outcomes = [result.outcome for result in results]
    return f"{outcomes.count(PASSED)} passed, {outcomes.count(FAILED)} failed"


def _databases(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(result.database for result in results))


def _rows(results: Sequence[Result], cell: Callable[[Result], str]) -> list[list[str]]:
    cells = {(result.scenario, result.database): cell(result) for result in results}
    names = dict.fromkeys(result.scenario for result in results)
    return [
        [name, *(cells.get((name, database), "") for database in _databases(results))]
        for name in names
    ]
