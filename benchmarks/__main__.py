"""Measure the queue side by side with the same work without a queue, and with its peers."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import environments, machine, record, report, rounds, texts
from benchmarks.catalogue import ALL_DATABASES, BY_MODULE, BY_NAME, OWN, SYSTEMS, YARDSTICK
from benchmarks.environments import ROOT, CannotRun
from benchmarks.hosts import on_hosts
from benchmarks.record import Record

PAGE = ROOT / "docs" / "performance.md"
NOTES = record.FOLDER / "notes.md"
MICRO = ROOT / "benchmarks" / "micro"
WORKLOADS = tuple(texts.WORKLOADS)
EXPERIMENTS = (
    "enqueue",
    "latency",
    "scaling",
    "services",
    "hosts",
    "fork-per-job",
    "backlog",
    "memory",
    "notify",
)
SCALE = (1, 2, 4, 8, 16)
SERVICES, SHARED = (1, 2, 3), 12
"""Numbers of services, and of the workers that they share: 4 each of three."""
HOSTS = (1, 2, 3)
SLOWEST = 50
"""Jobs a second that take no longer than they are given."""
HOUR = 3600.0
SIZES = (0, 1_000, 10_000, 100_000, 1_000_000)


def main() -> None:
    options = parser().parse_args()
    try:
        made = list(experiments(options))
    except CannotRun as reason:
        sys.exit(f"benchmarks: {reason}")
    if made:
        print(report.document(made)[0])
    if made and options.write:
        for one in made:
            record.save(one)
        write_page()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{__doc__} W1 and W2 with 4 workers take about half an hour, the first run"
        " some minutes more: it makes virtual environments in .venv/.",
        epilog="POSTGRES_HOST, _PORT, _USER and _PASSWORD, MYSQL_HOST and so on, and REDIS_URL say"
        " where the servers are. More in benchmarks/README.md.",
    )
    add = parser.add_argument
    names = (*WORKLOADS, *EXPERIMENTS, "micro", "page")
    add("what", nargs="*", metavar="WHAT", help=f"W1 W2, or of: {', '.join(names)}")
    add("--database", default="postgres", choices=ALL_DATABASES)
    add("--system", action="append", choices=list(BY_MODULE), help="only this one; repeatable")
    add("--workers", type=positive, nargs="+", metavar="N", help="4; of scaling 1 2 4 8 16")
    add("--rounds", type=positive, metavar="N", help="5, or 3 with --quick")
    add("--seconds", type=float, metavar="S", help="of each figure: 3, or 0.5 with --quick")
    add("--jobs", type=positive, metavar="N", help="of memory, while it may grow: 100000")
    add("--rows", type=positive, metavar="N", help="of backlog, at most of a kind: 1000000")
    add("--quick", action="store_true", help="rougher, in a few minutes")
    add("--write", action="store_true", help="keep the figures, and write docs/performance.md")
    parser.set_defaults(names=names)
    return parser


def positive(text: str) -> int:
    """A whole number from 1, from the command line."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return number


def experiments(options: argparse.Namespace) -> list[Record]:
    """Run what was asked for."""
    what = options.what or ["W1", "W2"]
    if unknown := [name for name in what if name not in options.names]:
        raise CannotRun(f"there is no {unknown[0]!r}; there are {', '.join(options.names)}")
    if "micro" in what:
        run_micro()
    if "page" in what:
        write_page()
    asked = [name for name in what if name in EXPERIMENTS]
    workloads = [name for name in what if name in WORKLOADS]
    if not (asked or workloads):
        return []
    with ExitStack() as stack:
        if "hosts" in asked:
            check_hosts(options, [*workloads, *asked])
            stack.enter_context(on_hosts(max(HOSTS)))
        bench = stack.enter_context(
            rounds.bench(options.database, chosen(options, workloads, asked))
        )
        made = [throughput(bench, options, workloads)] if workloads else []
        return [*made, *(globals()[name.replace("-", "_")](bench, options) for name in asked)]


def check_hosts(options: argparse.Namespace, asked: list[str]) -> None:
    """Raise CannotRun if more is wanted than what is measured on hosts, which have a server of
    their own."""
    if asked != ["hosts"] or options.database != "postgres":
        raise CannotRun("hosts are measured alone, and on PostgreSQL")


def chosen(
    options: argparse.Namespace, workloads: Sequence[str], asked: Sequence[str]
) -> list[Any]:
    """The systems that take part."""
    if options.system:
        return [BY_MODULE[name] for name in options.system]
    if not workloads and set(asked) <= {"scaling", "services", "hosts", "backlog", "notify"}:
        return [BY_NAME[YARDSTICK], BY_NAME[OWN]]
    if [*workloads, *asked] == ["fork-per-job"]:
        return [system for system in SYSTEMS if system.forks]
    return list(SYSTEMS)


def throughput(bench: rounds.Bench, options: argparse.Namespace, names: list[str]) -> Record:
    """Jobs a second of each workload."""
    asked = {"workloads": names, "seconds": seconds(options)}
    numbers = options.workers or [4]
    runs = {str(n): rounds.run(bench, count(options), "drain", n, **asked) for n in numbers}
    return recorded(bench, "throughput", names, runs)


def enqueue(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """Jobs a second, one by one and many at once."""
    number = 300 if options.quick else 2000
    return recorded(
        bench, "enqueue", [], {"": rounds.run(bench, count(options), "enqueue", 4, count=number)}
    )


def latency(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """Milliseconds to the start of a job, of an idle queue and of one with work."""
    asked = {
        "seconds": seconds(options),
        "idle": 2.0 if options.quick else 5.0,
        "probes": 20 if options.quick else 50,
    }
    workers = (options.workers or [4])[0]
    runs = {"": rounds.run(bench, min(count(options), 3), "latency", workers, **asked)}
    return recorded(bench, "latency", [], runs)


def scaling(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """W1 with more and more workers, and where the CPU time goes."""
    asked = {"workloads": ["W1"], "seconds": seconds(options)}
    numbers = options.workers or SCALE
    runs = {str(n): rounds.run(bench, count(options), "drain", n, **asked) for n in numbers}
    return recorded(bench, "scaling", [], runs)


def services(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """W1 with as many workers in one service as in several."""
    asked = {"numbers": SERVICES, "seconds": seconds(options)}
    workers = (options.workers or [SHARED])[0]
    runs = {str(workers): rounds.run(bench, count(options), "services", workers, **asked)}
    return recorded(bench, "services", [], runs)


def hosts(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """W1 on more and more hosts, with as many workers on each."""
    asked = {"numbers": HOSTS, "seconds": seconds(options)}
    workers = (options.workers or [4])[0]
    runs = {str(workers): rounds.run(bench, count(options), "hosts", workers, **asked)}
    return recorded(bench, "hosts", [], runs)


def fork_per_job(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """Jobs a second with a fork for each."""
    numbers = options.workers or [1, 4]
    runs = {
        str(n): rounds.run(bench, count(options), "forks", n, seconds=seconds(options))
        for n in numbers
    }
    return recorded(bench, "fork-per-job", [], runs)


def memory(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """MB of the parents and of each worker; of the queue itself, whether it grows."""
    number, workers = min(count(options), 3), (options.workers or [4])[0]
    runs = {
        str(mb): rounds.run(bench, number, "memory", workers, ballast=mb, count=500)
        for mb in (0, 100)
    }
    if BY_NAME[OWN] in bench.systems:
        jobs = options.jobs or (10_000 if options.quick else 100_000)
        limit = max(rounds.LIMIT, jobs / SLOWEST)
        grown = bench.ask(BY_NAME[OWN], "growth", workers, limit=limit, jobs=jobs)
        runs["growth"] = [{OWN: grown}]
    return recorded(bench, "memory", [], runs)


def backlog(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """The fetch and schedule() beside more and more rows."""
    most = options.rows or (SIZES[-2] if options.quick else SIZES[-1])
    sizes = [size for size in SIZES if size <= most]
    found = bench.ask(BY_NAME[OWN], "backlog", limit=HOUR, sizes=sizes, priorities=[1, 100])
    return recorded(bench, "backlog", [], {"": [{OWN: found}]})


def notify(bench: rounds.Bench, options: argparse.Namespace) -> Record:
    """What waking services costs schedule()."""
    asked = {"processes": options.workers or [1, 4, 16], "seconds": seconds(options)}
    return recorded(
        bench, "notify", [], {"": rounds.run(bench, count(options), "notify", 4, **asked)}
    )


def count(options: argparse.Namespace) -> int:
    """How many rounds."""
    return int(options.rounds or (3 if options.quick else 5))


def seconds(options: argparse.Namespace) -> float:
    """Of one figure, about."""
    return float(options.seconds or (0.5 if options.quick else 3.0))


def recorded(
    bench: rounds.Bench, experiment: str, names: list[str], runs: dict[str, Any]
) -> Record:
    """The figures, with all that is needed to judge them."""
    return Record(
        experiment=experiment,
        names=names,
        command=shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        machine=machine.describe(),
        database=bench.database,
        server=bench.ask(bench.systems[0], "describe"),
        redis=bench.redis[1] if bench.redis else "",
        versions=bench.versions(),
        left_out=bench.left_out,
        runs=runs,
    )


def write_page() -> None:
    """docs/performance.md and its plots, from all records that are kept."""
    notes = NOTES.read_text(encoding="utf-8") if NOTES.exists() else ""
    page, plots = report.document(record.load(), notes)
    for stale in record.FOLDER.glob("*.svg"):
        stale.unlink()
    for name, svg in plots.items():
        (record.FOLDER / name).write_text(svg, encoding="utf-8")
    Path(PAGE).write_text(page, encoding="utf-8")


def run_micro() -> None:
    """The micro-benchmarks, through pytest-benchmark."""
    python = environments.prepare(BY_NAME[OWN], "postgres")
    options = ["-c", f"{MICRO}/pytest.ini", f"--rootdir={ROOT}", str(MICRO)]
    command = [str(python), "-m", "pytest", *options]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise CannotRun("the micro-benchmarks failed, see above")


if __name__ == "__main__":
    main()
