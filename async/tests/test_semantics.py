"""docs/semantics.md names, for each statement, a test that is there and a scenario that is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "semantics.md").read_text()
SCENARIOS = ROOT / "test-projects" / "faults" / "faults" / "scenarios"


def functions(file: Path) -> set[str]:
    """The functions of a file that are tests, without their prefix; methods included."""
    return set(re.findall(r"^\s*def test_(\w+)\(", file.read_text(), re.MULTILINE))


def test_each_test_that_it_names_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", DOCUMENT)
    assert len(named) > 100
    assert len(named) == DOCUMENT.count("::")
    missing = [
        f"{file}::{name}"
        for file, name in named
        if name not in functions(Path(__file__).parent / file)
    ]
    assert missing == []


def test_each_scenario_that_it_names_exists() -> None:
    sources = "".join(file.read_text() for file in SCENARIOS.glob("*.py"))
    known = set(re.findall(r'@scenario\([\d.]+, "([\w-]+)"', sources))
    lists = re.findall(r"fault suite ((?:`[\w-]+`(?:, )?)+)", DOCUMENT)
    named = {name for found in lists for name in re.findall(r"`([\w-]+)`", found)}
    assert named
    assert named - known == set()


def test_each_statement_of_a_table_names_what_holds_it() -> None:
    rows = re.findall(r"^\| (?!statement|---)(.+) \| (.*) \|$", DOCUMENT, re.MULTILINE)
    assert rows
    assert [row for row, test in rows if "::" not in test and "fault suite" not in test] == []
