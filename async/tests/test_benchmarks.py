"""The benchmark's arithmetic and its page, without a server and without any peer."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import plot, report, tasks_overhead
from benchmarks import record as records
from benchmarks.__main__ import NOTES, PAGE, chosen, parser
from benchmarks.catalogue import BY_NAME, OWN, SYSTEMS, YARDSTICK
from benchmarks.figures import percentiles, ratio, spread, systems
from benchmarks.record import Record

PEER = "procrastinate"
ROUNDS: list[dict[str, Any]] = [
    {YARDSTICK: {"W1": {"rate": 1000}}, OWN: {"W1": {"rate": 900}}, PEER: {"W1": {"rate": 300}}},
    {YARDSTICK: {"W1": {"rate": 500}}, OWN: {"W1": {"rate": 400}}, PEER: {"W1": {"rate": 100}}},
    {YARDSTICK: {"W1": {"rate": 2000}}, OWN: {"W1": {"rate": 1500}}},
]


def record(**changes: Any) -> Record:
    given: dict[str, Any] = {
        "experiment": "throughput",
        "names": ["W1"],
        "command": "python -m benchmarks",
        "date": "2026-01-31",
        "machine": {"Processor": "one with 2 cores"},
        "database": "postgres",
        "server": "PostgreSQL 15.1 (fsync = on)",
        "redis": "",
        "versions": {PEER: {PEER: "3.10.0"}},
        "left_out": {"rq": "no Redis answers"},
        "runs": {"4": ROUNDS},
    }
    return Record(**given | changes)


def test_a_spread_is_the_median_between_the_lowest_and_the_highest() -> None:
    assert spread([3000, 1, 2]).show() == "2 (1 to 3,000)"


def test_of_nothing_there_is_no_figure() -> None:
    assert math.isnan(spread([]).middle)
    assert spread([]).show() == "-"


def test_a_ratio_is_of_two_figures_of_one_round() -> None:
    """Not of two medians, which may come from two rounds."""
    assert ratio(ROUNDS, OWN, YARDSTICK, "W1", "rate").show(".2f") == "0.80 (0.75 to 0.90)"


def test_a_round_that_lacks_one_of_both_gives_no_ratio() -> None:
    assert ratio(ROUNDS, OWN, PEER, "W1", "rate").show(".1f") == "3.5 (3.0 to 4.0)"
    assert math.isnan(ratio(ROUNDS, OWN, "rq", "W1", "rate").middle)


def test_systems_come_by_their_figures_and_those_without_one_last() -> None:
    figures = {YARDSTICK: math.nan, OWN: 1.0, PEER: 2.0}
    assert systems(ROUNDS, figures.__getitem__) == [PEER, OWN, YARDSTICK]


def test_percentiles() -> None:
    assert percentiles(range(101)) == (50, 99)


def test_the_page_has_each_systems_figures_and_what_it_does_not_promise() -> None:
    page, plots = report.document([record()])
    lines = page.splitlines()
    [own] = [line for line in lines if line.startswith(f"| **{OWN}** | 900")]
    assert own == f"| **{OWN}** | 900 (400 to 1,500) | 0.80 (0.75 to 0.90) | - |  |"
    [peer] = [line for line in lines if line.startswith(f"| {PEER} | 200")]
    assert "3.50 (3.00 to 4.00)" in peer
    assert "atomic jobs; killed: stays running for ever" in peer
    assert list(plots) == ["w1-4-postgres.svg"]
    assert "](performance/w1-4-postgres.svg)" in page


def test_the_page_says_how_when_where_and_with_what_it_was_measured() -> None:
    page, _ = report.document([record()])
    for said in (
        "`python -m benchmarks`, 2026-01-31; number of rounds: 3.",
        "Machine: one with 2 cores.",
        "Servers: PostgreSQL 15.1 (fsync = on).",
        "Left out: rq (no Redis answers).",
        f"{PEER}: {PEER} 3.10.0",
    ):
        assert f"- {said}" in page


def test_notes_stand_at_the_end_of_the_page() -> None:
    page, _ = report.document([record()], "## Profile\n\nWhere the time goes.\n")
    assert page.endswith("Where the time goes.\n")


def test_the_page_has_the_latency_after_a_silence_where_it_was_measured() -> None:
    found = {"idle": [1.0, 2.0], "loaded": [3.0, 4.0], "share": 0.005, "load": 50.0}
    silences = [[float(number) for number in range(0, 1000, 20)], [1000.0]]
    runs = {"": [{OWN: {**found, "silence": one}, PEER: found} for one in silences]}
    page, _ = report.document([record(experiment="latency", names=[], runs=runs)])
    assert f"| {OWN} | 500.0 | 990.0 | 1,000.0 |" in page
    assert "(51 probes)" in page
    assert f"| {PEER} | 1.5 | 2.0 | 3.5 | 4.0 | 50 (50 to 50) | 0.5% (0.5% to 0.5%) |" in page


def test_the_page_has_the_memory_of_each_process_and_whether_the_parent_grows() -> None:
    bare = {"parents": [30.0], "children": [10.0, 14.0], "private": [8.0, 9.0]}
    large = {"parents": [80.0], "children": [35.0, 37.0], "private": [8.0, 9.0]}
    grown = {"jobs": [0, 50, 100], "parent": [40.0, 41.0, 41.5], "worker": [38.0, 39.0, 39.0]}
    runs = {"0": [{OWN: bare}], "100": [{OWN: large}], "growth": [{OWN: grown}]}
    page, _ = report.document([record(experiment="memory", names=[], runs=runs)])
    [row] = [line for line in page.splitlines() if line.startswith(f"| {OWN} | 54")]
    assert row == (
        f"| {OWN} | 54 (54 to 54) | 30 (30 to 30) | 12 (12 to 12) | 8.5 (8.5 to 8.5)"
        " | 98 (98 to 98) | 8.5 (8.5 to 8.5) |"
    )
    said = page.replace("\n", " ")
    assert "occupied 40.0 MB before 100 jobs that do nothing, 41.0 MB after half" in said
    assert "41.5 MB at their end; a worker on average 38.0 and 39.0 MB" in said


def test_the_page_has_the_backlog_by_depth_and_beside_an_old_transaction() -> None:
    figures = {
        "fetch": {"p50": 1.0, "p99": 2.0},
        "schedule": {"p50": 3.0, "p99": 4.0},
        "drain": 1500.0,
        "glance": {"p50": 0.5, "p99": 0.6},
        "pick-up": {"p50": 7.0, "p99": 8.0},
        "explain": ["Index Scan"],
    }
    depths = [{**figures, "size": size, "priorities": 1} for size in (0, 1000)]
    aged = {"size": 1000, "explain": ["Seq Scan"]}
    aged |= dict.fromkeys(("before", "beside", "after"), figures)
    runs = {"": [{OWN: {"depths": depths, "aged": aged}}]}
    page, _ = report.document([record(experiment="backlog", names=[], runs=runs)])
    assert "| 1,000 | 1 | 1.00 | 2.00 | 3.00 | 4.00 | 1,500 |" in page
    assert (
        "| beside the transaction | 1.00 | 2.00 | 3.00 | 4.00 | 1,500 | 0.50 | 0.60 | 7.00 | 8.00 |"
        in page
    )
    assert page.index("Index Scan") < page.index("Seq Scan")


def test_the_page_compares_a_fork_for_each_job_with_a_bare_loop() -> None:
    loop = {"rate": 100.0, "alone": 50.0}
    rounds = [{YARDSTICK: loop, OWN: {"rate": 80.0}, "rq": {"rate": 40.0}}] * 2
    runs = {"4": [*rounds, {OWN: {"rate": 90.0}}]}
    page, _ = report.document([record(experiment="fork-per-job", names=[], runs=runs)])
    lines = [line[6:] for line in page.splitlines() if line.startswith("| 4 |")]
    assert lines == [
        "bare loop | 100 (100 to 100) | - | 2.00 (2.00 to 2.00) | 0.80 (0.80 to 0.80) |",
        "django-async | 80 (80 to 90) | 0.80 (0.80 to 0.80) | 1.60 (1.60 to 1.60) | - |",
        "rq | 40 (40 to 40) | 0.40 (0.40 to 0.40) | 0.80 (0.80 to 0.80) | 2.00 (2.00 to 2.00) |",
    ]


def test_a_fork_for_each_job_is_measured_of_those_that_can() -> None:
    options = parser().parse_args(["fork-per-job"])
    assert [one.name for one in chosen(options, [], options.what)] == [YARDSTICK, OWN, "rq"]
    for one in SYSTEMS:
        module = Path(__file__).parents[2] / "benchmarks" / "systems" / f"{one.module}.py"
        can = "fork_for_each" in module.read_text(encoding="utf-8")
        assert can == (one.forks and one.name != YARDSTICK)


def test_what_a_task_costs_more_is_told_by_the_rounds_and_not_by_the_medians() -> None:
    """A round in which the machine was slow is as good as any."""
    usual = [(100.0, 100.0), (1000.0, 1000.0), (200.0, 200.0)]
    task = [(105.0, 105.0), (1050.0, 1060.0), (200.0, 228.0)]
    percents = tasks_overhead.ratios(usual, task)
    assert percents == pytest.approx([5.0, 5.5, 7.0])
    assert tasks_overhead.told(percents).startswith(
        "A task costs 5.5 % more (half of the rounds: 5."
    )


def test_every_queue_has_its_promises_on_the_page() -> None:
    page, _ = report.document([])
    for system in SYSTEMS:
        if system.promises:
            row = f"| {system.name} | {system.run} | {system.promises.joins}"
            assert row in page
    assert {name for name, one in BY_NAME.items() if not one.promises} == {YARDSTICK, "pgbench"}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_every_system_has_its_module_and_says_which_versions_it_is_of(system: Any) -> None:
    assert find_spec(f"benchmarks.systems.{system.module}")
    assert all("==" in package for package in system.packages[:1])


def test_a_plot_tells_its_figures_to_those_who_do_not_see_it() -> None:
    bar = plot.Bar("django-async & co", 1234, 1000, 1500)
    for svg in (
        plot.bars("W1", "jobs a second", [bar]),
        plot.lines("W1", "jobs a second", "workers", {bar.label: [(1, 500), (2, 1234)]}),
    ):
        root = ElementTree.fromstring(svg)
        title, said = root[0], root[1]
        assert title.text == "W1, jobs a second"
        assert "django-async & co: " in str(said.text)
        assert "1,234" in str(said.text)
        assert root.get("aria-labelledby") == f"{title.get('id')} {said.get('id')}"
        assert "prefers-color-scheme: dark" in svg


def test_the_page_is_what_the_kept_figures_give() -> None:
    """It is written by the benchmark, and not by hand."""
    kept = records.load()
    if not kept:
        pytest.skip("no figures are kept yet: python -m benchmarks --write")
    notes = NOTES.read_text(encoding="utf-8") if NOTES.exists() else ""
    page, plots = report.document(kept, notes)
    assert PAGE.read_text(encoding="utf-8") == page
    assert {path.name for path in records.FOLDER.glob("*.svg")} == set(plots)
