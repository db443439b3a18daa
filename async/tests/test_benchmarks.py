"""The benchmark's arithmetic and its page, without a server and without any peer."""

from __future__ import annotations

import ast
import math
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import environments, plot, report, rounds, tally, tasks_overhead
from benchmarks import record as records
from benchmarks.__main__ import NOTES, PAGE, chosen, experiments, parser
from benchmarks.catalogue import BY_NAME, OWN, SYSTEMS, YARDSTICK
from benchmarks.environments import ROOT, CannotRun
from benchmarks.figures import percentiles, ratio, spread, systems
from benchmarks.record import Record

PEER = "procrastinate"
OLD = BY_NAME["django-async 0.7.3"]
RUN_BY_36 = [
    *(ROOT / "benchmarks" / f"{name}.py" for name in ("__init__", "jobs", "models", "tally")),
    *(ROOT / "benchmarks" / "legacy").glob("*.py"),
]
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


def test_the_page_compares_several_services_with_one_of_as_many_workers() -> None:
    one = {"rate": 1000.0, "parent": 1e-4, "workers": 8e-4, "server": 5e-4}
    yardstick = {number: {"rate": 900.0, "workers": 7e-4, "server": 3e-4} for number in "13"}
    rounds = [
        {OWN: {"1": one, "3": {**one, "rate": rate}}, YARDSTICK: yardstick}
        for rate in (900.0, 950.0, 800.0)
    ]
    page, _ = report.document([record(experiment="services", names=[], runs={"12": rounds})])
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert lines[2:6] == [
        f"| {OWN} | 1 | 12 | 1,000 (1,000 to 1,000) | 1.00 (1.00 to 1.00) | 0.10 | 0.80 | 0.50 |",
        f"| {OWN} | 3 | 4 | 900 (800 to 950) | 0.90 (0.80 to 0.95) | 0.10 | 0.80 | 0.50 |",
        f"| {YARDSTICK} | 1 | 12 | 900 (900 to 900) | 1.00 (1.00 to 1.00) | - | 0.70 | 0.30 |",
        f"| {YARDSTICK} | 3 | 4 | 900 (900 to 900) | 1.00 (1.00 to 1.00) | - | 0.70 | 0.30 |",
    ]


def test_the_page_compares_several_hosts_with_one_that_has_as_many_workers() -> None:
    figures = {"rate": 900.0, "parent": 1e-4, "workers": 8e-4, "server": 5e-4}
    rounds = [{OWN: {"1": figures, "3": {**figures, "rate": 1800.0}}}]
    page, _ = report.document([record(experiment="hosts", names=[], runs={"4": rounds})])
    assert "to one host" in page
    assert f"| {OWN} | 3 | 4 | 1,800 (1,800 to 1,800) | 2.00 (2.00 to 2.00) |" in page


@pytest.mark.parametrize("options", [["hosts", "W1"], ["hosts", "--database=mysql"]])
def test_hosts_have_a_server_of_their_own_and_are_measured_alone(options: list[str]) -> None:
    with pytest.raises(CannotRun, match="alone, and on PostgreSQL"):
        experiments(parser().parse_args(options))


def test_a_fork_for_each_job_is_measured_of_those_that_can() -> None:
    options = parser().parse_args(["fork-per-job"])
    assert [one.name for one in chosen(options, [], options.what)] == [YARDSTICK, OWN, "rq"]
    for one in SYSTEMS:
        module = Path(__file__).parents[2] / "benchmarks" / "systems" / f"{one.module}.py"
        can = "fork_for_each" in module.read_text(encoding="utf-8")
        assert can == (one.forks and one.name != YARDSTICK)


def test_a_run_ends_when_the_last_system_has_fallen_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise CannotRun("its server has gone")

    monkeypatch.setattr(rounds.Bench, "ask", fails)
    bench = rounds.Bench("postgres", [BY_NAME[OWN]])
    with pytest.raises(CannotRun, match="nothing is left"):
        rounds.run(bench, 1, "drain", 4, workloads=["W1"], seconds=1.0)
    assert bench.left_out == {OWN: "its server has gone"}


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
    assert all("==" in package for package in (*system.packages[:1], *system.legacy[:1]))


def test_who_gives_jobs_a_transaction_and_stops_when_one_is_killed_has_that_on_the_page() -> None:
    runs = {"4": [{OLD.name: {"W1": {"rate": 800}}, OWN: {"W1": {"rate": 1000}}}]}
    page, _ = report.document([record(runs=runs)])
    [row] = [line for line in page.splitlines() if line.startswith(f"| {OLD.name} | 800")]
    assert row.endswith(
        "| 1.25 (1.25 to 1.25) | killed: waits until somebody removes the lock"
        " file, which stops every later run |"
    )


def test_a_job_counts_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHMARK_TALLY", str(tmp_path))
    tally.clear()
    assert tally.read().jobs == tally.done() == 0
    for _ in range(2):
        tally.began()
        tally.ended()
    tally.stamp(3, 0.5)
    found = tally.read()
    assert (found.jobs, found.processes, tally.done()) == (2, 1, 2)
    assert 0 < found.first < found.last
    assert (tally.probe(3), tally.probe(2)) == (0.5, 0.0)
    tally.clear()
    assert tally.read().jobs == tally.done() == tally.probe(3) == 0


def test_what_a_job_counts_in_python_36_is_read_in_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        python = environments.python36()
    except CannotRun as reason:
        pytest.skip(str(reason))
    monkeypatch.setenv("BENCHMARK_TALLY", str(tmp_path))
    tally.clear()
    script = "from benchmarks import tally as t; t.began(); t.ended(); t.stamp(1, 0.5)"
    subprocess.run([python, "-c", script], cwd=ROOT, check=True)
    assert (tally.read().jobs, tally.read().processes, tally.probe(1)) == (1, 1, 0.5)


@pytest.mark.parametrize("path", RUN_BY_36, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_python_36_runs_has_no_newer_syntax(path: Path) -> None:
    """As far as a newer Python can tell: 3.7 is the oldest that it knows."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
        said = (getattr(node, "annotation", None), getattr(node, "returns", None))
        for annotation in filter(None, said):  # list[str] and X | None would be evaluated
            assert isinstance(annotation, ast.Name | ast.Attribute | ast.Constant)


@pytest.fixture
def no_python36(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which pyenv has its Pythons, of which there is none."""
    monkeypatch.delenv("BENCHMARK_PYTHON36", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(environments, "PYENV", str(tmp_path))
    return tmp_path


def interpreter(path: Path, status: int) -> Path:
    """A program that says nothing but whether it is Python 3.6."""
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("no_python36")
def test_without_a_python_36_073_is_left_out_with_the_reason() -> None:
    with pytest.raises(CannotRun) as caught:
        environments.prepare(OLD, "postgres")
    assert str(caught.value) == (
        "needs Python 3.6 and Django 1.11; BENCHMARK_PYTHON36 may say where there is one"
    )


def test_a_python_that_is_named_and_is_no_36_is_an_error(
    no_python36: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although there is another one: somebody has decided."""
    interpreter(no_python36 / "3.6.15" / "bin" / "python3.6", 0)
    monkeypatch.setenv("BENCHMARK_PYTHON36", "/nowhere/python3.6")
    with pytest.raises(CannotRun) as caught:
        environments.python36()
    assert str(caught.value) == "needs Python 3.6 and Django 1.11; /nowhere/python3.6 is none"


def test_a_python_36_is_looked_for_on_path_and_then_among_pyenvs(
    no_python36: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_pyenv = interpreter(no_python36 / "3.6.15" / "bin" / "python3.6", 0)
    shim = interpreter(no_python36 / "shims" / "python3.6", 127)
    monkeypatch.setenv("PATH", str(shim.parent))
    assert environments.python36() == str(of_pyenv)
    on_path = interpreter(no_python36 / "usr" / "python3.6", 0)
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert environments.python36() == str(on_path)


def test_the_versions_of_073_are_those_that_python_36_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages of its time leave an egg-info."""
    monkeypatch.setattr(environments, "LEGACY", tmp_path)
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.6.15\n")
    for name in (
        "Django-1.11.29.dist-info",
        "django_async-0.7.3-py3.6.egg-info",
        "psycopg2_binary-2.8.6.dist-info",
        "pytz-2026.1.dist-info",
    ):
        (tmp_path / "lib" / "python3.6" / "site-packages" / name).mkdir(parents=True)
    assert environments.versions(OLD) == {
        "django": "1.11.29",
        "django-async": "0.7.3",
        "psycopg2-binary": "2.8.6",
        "python": "3.6.15",
    }


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
