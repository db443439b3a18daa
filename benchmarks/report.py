"""The document: how it was measured, on what, and the figures as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from benchmarks import machine
from benchmarks.measure import MANY, WAITING, Drain, Plan, Round

HEAD = """\
# Performance

This page is written by the benchmark itself: `{command}`, on {date}.

What counts here are the ratios. The yardstick is the work that cannot be saved: as many forked
processes as there are workers, each with a connection that it keeps, do in a plain loop what the
jobs do, one transaction each: `atomic()`, the same insert through the ORM, and one `UPDATE` of a
row by its primary key where the queue marks its job. A ratio of 0.5 means that the queue doubles
the cost of such a job, which is about the smallest one worth having; the more a job does, the
nearer to 1 it comes.

Each round measures the yardstick and, right after it, what is compared with it; a ratio is that of
two neighbours in one round. The figures are medians, with the lowest and the highest in brackets;
number of rounds: {rounds}.

{machine}
"""

SQLITE_NOTE = """\
SQLite has one writer, so jobs go one at a time there, whatever the number of workers; the processes
of the yardstick wait for each other by polling the file's lock."""

ENQUEUE_NOTE = """\
`schedule()` runs in a loop, each call with a commit of its own; `schedule_many()` is one call. The
yardstick is that of one process."""

DRAIN_NOTE = """\
{jobs:,} jobs wait when the time starts. It runs from the first fork to the end of the last worker,
as for the yardstick; the start of Python and the imports are not in it. No-op jobs, next to the
same yardstick, show what the queue itself costs."""

FIRST_NOTE = """\
{waiting} workers, from the moment named to the insert of the first row. Workers that wait have no
connection yet: the first job of each opens it."""


@dataclass(frozen=True, slots=True)
class Result:
    """The rounds on one database."""

    alias: str
    database: str
    rounds: Sequence[Round]


def document(results: Iterable[Result], plan: Plan, command: str) -> str:
    """The whole document, in Markdown."""
    head = HEAD.format(
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        rounds=plan.rounds,
        machine=_table(["machine", ""], machine.describe().items()),
    )
    return "\n".join([head, *(_section(result, plan) for result in results)])


def _section(result: Result, plan: Plan) -> str:
    parts = [
        f"## {result.database}",
        *([SQLITE_NOTE] if result.alias == "sqlite" else []),
        "### Enqueue",
        ENQUEUE_NOTE,
        _enqueue(result.rounds),
        "### Drain",
        DRAIN_NOTE.format(jobs=plan.jobs),
        _drain(result.rounds, plan.workers),
        "### Time to the first job",
        FIRST_NOTE.format(waiting=WAITING),
        _first(result.rounds),
    ]
    return "\n\n".join(parts) + "\n"


def _enqueue(rounds: Sequence[Round]) -> str:
    return _table(
        ["", "a second", "to the yardstick"],
        [
            ["yardstick, one process", _spread(one.yardstick for one in rounds), ""],
            [
                "`schedule()`, one by one",
                _spread(one.schedule for one in rounds),
                _ratio(one.schedule / one.yardstick for one in rounds),
            ],
            [
                f"`schedule_many()` of {MANY:,}",
                _spread(one.schedule_many for one in rounds),
                _ratio(one.schedule_many / one.yardstick for one in rounds),
            ],
        ],
    )


def _drain(rounds: Sequence[Round], workers: Iterable[int]) -> str:
    return _table(
        ["workers", "yardstick/s", "one-insert jobs/s", "ratio", "no-op jobs/s", "ratio"],
        [_drain_row(number, [one.drains[number] for one in rounds]) for number in workers],
    )


def _drain_row(workers: int, drains: Sequence[Drain]) -> list[str]:
    return [
        str(workers),
        _spread(one.yardstick for one in drains),
        _spread(one.insert for one in drains),
        _ratio(one.insert / one.yardstick for one in drains),
        _spread(one.nothing for one in drains),
        _ratio(one.nothing / one.yardstick for one in drains),
    ]


def _first(rounds: Sequence[Round]) -> str:
    def milliseconds(values: Iterable[float]) -> str:
        return _spread((1000 * value for value in values), lambda value: f"{value:.1f}")

    return _table(
        ["from", "milliseconds"],
        [
            ["the start of `flush_queue`", milliseconds(one.from_start for one in rounds)],
            ["workers that wait", milliseconds(one.from_ready for one in rounds)],
        ],
    )


def _spread(values: Iterable[float], show: Callable[[float], str] = "{:,.0f}".format) -> str:
    ordered = sorted(values)
    return f"{show(median(ordered))} ({show(ordered[0])} to {show(ordered[-1])})"


def _ratio(values: Iterable[float]) -> str:
    return _spread(values, "{:.2f}".format)


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
