"""Rows of the report's tables, from the figures of the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.catalogue import OWN, YARDSTICK
from benchmarks.figures import NOTHING, Round, each, ratio, spread

Row = list[str]

BACKLOG_HEAD = ("fetch p50", "p99", "schedule p50", "p99", "jobs a second")
AGED_HEAD = (*BACKLOG_HEAD, "glance p50", "p99", "pick-up p50", "p99")


def backlog_row(found: dict[str, Any]) -> Row:
    """Milliseconds of the fetch and of schedule(), and jobs a second."""
    return [*_times(found, "fetch", "schedule"), f"{found['drain']:,.0f}"]


def aged_row(found: dict[str, Any]) -> Row:
    """The same, and milliseconds of a glance and until a service begins a job."""
    return [*backlog_row(found), *_times(found, "glance", "pick-up")]


def _times(found: dict[str, Any], *names: str) -> Row:
    return [f"{found[name][p]:.2f}" for name in names for p in ("p50", "p99")]


def shared_mb(rounds: Sequence[Round], system: str) -> Row:
    """MB of all processes together, of the parents and of a worker, and of what that has alone."""
    taken = [one[system] for one in rounds if system in one]
    figures = [
        spread(map(_all_mb, taken)),
        spread(sum(one["parents"]) for one in taken),
        spread(mean(one["children"] or one["parents"]) for one in taken),
    ]
    return [*(one.show() for one in figures), _own_mb(taken)]


def added_mb(bare: Sequence[Round], large: Sequence[Round], system: str) -> Row:
    """MB that a large application adds to all processes, and what a worker then has alone."""
    pairs = [
        (less[system], more[system])
        for less, more in zip(bare, large, strict=True)
        if system in less and system in more
    ]
    added = spread(_all_mb(more) - _all_mb(less) for less, more in pairs)
    return [added.show(), _own_mb([more for _, more in pairs])]


def _all_mb(found: dict[str, Any]) -> float:
    return float(sum(found["parents"]) + sum(found["children"]))


def _own_mb(taken: Sequence[Round]) -> str:
    return spread(mean(one["private"]) for one in taken).show(".1f")


def growth(found: dict[str, list[float]]) -> dict[str, float]:
    """MB of the parent and of a worker, by what the page calls them."""
    parent, worker = found["parent"], found["worker"]
    return {
        "jobs": int(found["jobs"][-1]),
        "first": parent[0],
        "half": parent[len(parent) // 2],
        "last": parent[-1],
        "worker_first": worker[0],
        "worker_last": worker[-1],
    }


def middle(rounds: Sequence[Round], system: str) -> float:
    """The median of the rates."""
    return spread(each(rounds, system, "rate")).middle


def cpu(rounds: Sequence[Round], system: str, of: str) -> Row:
    """CPU milliseconds a job, by who spends them."""
    found = [spread(each(rounds, system, of, who)) for who in ("parent", "workers", "server")]
    return ["-" if one is NOTHING else f"{one.middle * 1000:.2f}" for one in found]


def services_row(rounds: Sequence[Round], system: str, number: str, workers: int) -> Row:
    """The rate of so many services with so many workers each, and its ratio to that of one."""
    rate = spread(each(rounds, system, number, "rate"))
    pairs = (one[system] for one in rounds if system in one)
    to_one = spread(found[number]["rate"] / found["1"]["rate"] for found in pairs)
    shown = [system, number, f"{workers}", rate.show(), to_one.show(".2f")]
    return [*shown, *cpu(rounds, system, number)]


def fork_row(rounds: Sequence[Round], system: str) -> Row:
    """A rate, and what it is to that of the bare loop and to that of the queue."""
    to_loop = NOTHING if system == YARDSTICK else ratio(rounds, system, YARDSTICK, "rate")
    to_alone = spread(
        one[system]["rate"] / one[YARDSTICK]["alone"]
        for one in rounds
        if system in one and YARDSTICK in one
    )
    to_own = NOTHING if system == OWN else ratio(rounds, OWN, system, "rate")
    return [
        "bare loop" if system == YARDSTICK else system,
        spread(each(rounds, system, "rate")).show(),
        *(figure.show(".2f") for figure in (to_loop, to_alone, to_own)),
    ]
