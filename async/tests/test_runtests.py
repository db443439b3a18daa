"""``./runtests``, where a run of it does not end as it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DEADLINE = 30.0
"""Seconds that a command waits for another one before it counts as lost."""

SCRIPT = Path(__file__).resolve().parents[2] / "runtests"

pytestmark = pytest.mark.skipif(
    os.environ.get("DATABASE", "sqlite") != "sqlite",
    reason="it is the same on every database: one of them is enough",
)


@pytest.fixture
def runtests(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, which leaves no compiled copy of itself."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("runtests", str(SCRIPT))
    spec = spec_from_loader("runtests", loader)
    assert spec
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "runtests", module)
    loader.exec_module(module)
    return module


def tox_on(*, success: bool = True, skipped: bool = False) -> dict[str, Any]:
    """What tox records of an environment that came to its end."""
    return {"result": {"success": success, "skipped": skipped, "duration": 3.2}}


def test_environments_that_a_cut_short_matrix_did_not_come_to_are_named_and_fail_it(
    runtests: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    report = runtests.Report()
    begun: dict[str, Any] = {"installed_packages": ["Django==6.1.3"]}
    runtests.tell_ends(["pool", "begun", "never"], {"pool": tox_on(), "begun": begun}, report)
    report.print()
    assert not report.good
    said = capsys.readouterr().out
    assert "passed in 3 s" in said
    assert said.count("tox did not come to its end") == 2


def test_a_missing_python_is_told_and_fails_nothing(runtests: ModuleType) -> None:
    report = runtests.Report()
    runtests.tell_ends(["pool"], {"pool": tox_on(skipped=True)}, report)
    assert report.good
    [row] = report.rows
    assert row.outcome == "its Python was not found"


def test_what_runs_beside_others_is_shown_as_a_whole_when_it_ends(
    runtests: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    report = runtests.Report()
    report.run("first", "", "sh", "-c", "echo one; echo two >&2", apart=True, limit=60.0)
    said = capfd.readouterr().out
    assert said.index("\n$ sh") < said.rindex("\n$ sh") < said.index("\none\ntwo\n")
    report.run("second", "", "sh", "-c", "echo three; exit 3", apart=True)
    assert "\nthree\n" in capfd.readouterr().out
    assert [row.good for row in report.rows] == [True, False]


MEETS_ANOTHER = """
[ "$0" = async/tests ] || exit 0
echo "on $DATABASE at <$MYSQL_TIME_ZONE>"
touch "{place}/$DATABASE"
until [ "$(ls "{place}" | wc -l)" -ge 2 ]; do sleep 0.01; done
"""


def test_two_databases_are_tested_at_once_and_mariadb_in_another_zone(
    runtests: ModuleType,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    class Environment:
        python = sys.executable

        def tool(self, *_: str) -> tuple[str, ...]:
            return "sh", "-c", MEETS_ANOTHER.format(place=tmp_path)

    monkeypatch.setattr(runtests, "LIMIT", DEADLINE)
    report = runtests.Report()
    servers = {name: f"A {name}" for name in runtests.DATABASES}
    runtests.test(Environment(), servers, [], report)
    assert report.good
    assert {row.what for row in report.rows} == {
        "pool",
        "A sqlite",
        "A postgres",
        "A mysql at +05:00",
    }
    said = capfd.readouterr().out
    assert all(f"on {name} at <>" in said for name in ("sqlite", "postgres"))
    assert "on mysql at <+05:00>" in said


@pytest.mark.parametrize("apart", [False, True])
def test_what_does_not_end_in_time_is_ended_and_has_failed(
    apart: bool, runtests: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not runtests.run("sh", "-c", "echo begun; exec sleep 60", limit=0.5, apart=apart)
    said = capfd.readouterr().out
    assert said.index("\nbegun\n") < said.index("\nNo end within 0.5 s.\n")


def test_an_interrupt_ends_it_with_a_sentence() -> None:
    """Here while it looks for an interpreter, which it does by starting some."""
    interrupts = f"kill -{int(signal.SIGINT)} $PPID; sleep 30"
    command = [sys.executable, "-c", PATIENT.format(script=str(SCRIPT), interrupts=interrupts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("runtests: interrupted")


PATIENT = """
import runpy, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
run = subprocess.run
subprocess.run = lambda *_, **options: run(["sh", "-c", {interrupts!r}], **options)
sys.argv = [{script!r}, "--lint"]
runpy.run_path({script!r}, run_name="__main__")
"""
