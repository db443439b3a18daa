"""Inflict faults on the queue, and count what was lost or done twice.

Each scenario runs on each database that can be reached and that it applies to. Without --minutes
it is the short form of a few minutes; with --minutes N it takes about so long on each database, the
counts grow with N (60: the full ones), and the goals for time are limits. The seed reproduces all
random choices. A database that cannot be reached is named; with CI=true, or if --database asks for
it, that is a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from faults.report import FAILED, NOT_RUN, Result, closing, markdown, table
from faults.scenario import ALL

CI = os.environ.get("CI") == "true"
DRIVERS = {"postgres": "psycopg", "mysql": "MySQLdb", "sqlite": "sqlite3"}
PROJECT = Path(__file__).parents[1]
PORTS = {"postgres": "5432", "mysql": "3306"}


def main() -> int:
    """Do what the command line asks for; the exit code."""
    chosen = parser().parse_args()
    if chosen.markdown:
        print(markdown(load(chosen.markdown)))
        return 0
    print(f"seed {chosen.seed}", flush=True)
    results = [one for name in chosen.database or ALL for one in run(name, chosen)]
    if chosen.json:
        save(chosen.json, chosen, results)
    print(f"\n{table(results)}\n\n{closing(results)}")
    return int(any(result.outcome == FAILED for result in results))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=0.0, metavar="N", help="the long form, of this size")
    add("--seed", type=int, default=random.randrange(10**6), metavar="S", help="of an earlier run")
    add("--database", action="append", choices=ALL, help="only this one; repeatable")
    add("--scenario", action="append", metavar="NAME", help="only this one; repeatable")
    add("--json", type=Path, metavar="FILE", help="write the figures to this file")
    add("--markdown", type=Path, metavar="FILE", help="print the table of such a file, no more")
    return parser


def run(database: str, chosen: argparse.Namespace) -> list[Result]:
    """All that is to be run on a database, in a process that knows only this one."""
    if reason := unreachable(database):
        required = CI or bool(chosen.database)
        result = Result("all", database, FAILED if required else NOT_RUN, problem=reason)
        print(result.line(), flush=True)
        return [result]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return run_in(Path(folder), database, chosen)


def run_in(folder: Path, database: str, chosen: argparse.Namespace) -> list[Result]:
    """The same, with a folder for its files."""
    found = folder / "results"
    order = {
        "scenarios": chosen.scenario,
        "minutes": chosen.minutes,
        "seed": chosen.seed,
        "results": str(found),
    }
    # The project of the tests has jobs that abuse their transaction.
    paths = [*map(str, [PROJECT, PROJECT.parent / "suite"]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "faults.rounds"],
        input=json.dumps(order).encode(),
        env={
            **os.environ,
            "DATABASE": database,
            "FAULTS_FOLDER": str(folder),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        },
        check=False,
    )
    results = [Result(**json.loads(line)) for line in lines(found)]
    if done.returncode:
        results.append(Result("the rest", database, FAILED, problem=f"exit {done.returncode}"))
        print(results[-1].line())
    return results


def lines(file: Path) -> list[str]:
    """Those of a file that may not exist."""
    return file.read_text().splitlines() if file.exists() else []


def unreachable(database: str) -> str:
    """Why the database cannot be used; nothing if it can."""
    try:
        import_module(DRIVERS[database])
        if database in PORTS:
            prefix = database.upper()
            host = os.environ.get(f"{prefix}_HOST", "127.0.0.1")
            port = os.environ.get(f"{prefix}_PORT", PORTS[database])
            socket.create_connection((host, int(port)), timeout=10).close()
    except (ImportError, OSError) as error:
        return str(error)
    return ""


def save(file: Path, chosen: argparse.Namespace, results: list[Result]) -> None:
    """Write the figures, with what a reader has to know to reproduce them."""
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "minutes": chosen.minutes,
        "seed": chosen.seed,
        "results": [asdict(result) for result in results],
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load(file: Path) -> list[Result]:
    """The results that save() wrote."""
    found = json.loads(file.read_text(encoding="utf-8"))["results"]
    return [Result(**one) for one in found]


if __name__ == "__main__":
    sys.exit(main())
