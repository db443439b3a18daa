"""What a run of the benchmark leaves behind: raw figures, and all that is needed to judge them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.environments import ROOT

FOLDER = ROOT / "docs" / "performance"


@dataclass(frozen=True, slots=True)
class Record:
    """One experiment on one database."""

    experiment: str
    """Its name in report.SECTIONS."""
    names: list[str]
    """The workloads, where it has some."""
    command: str
    date: str
    machine: dict[str, str]
    database: str
    server: str
    redis: str
    versions: dict[str, dict[str, str]]
    left_out: dict[str, str]
    runs: dict[str, list[dict[str, Any]]]
    """By what was varied (the number of workers, say): what each round gave, by system."""

    @property
    def key(self) -> str:
        """The name of its file, and of its plots."""
        return "-".join([self.experiment, *self.names, self.database]).lower().replace(" ", "-")


def save(record: Record) -> None:
    """Keep it; a record of the same experiment on the same database is replaced."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(asdict(record)), indent=1, ensure_ascii=False)
    (FOLDER / f"{record.key}.json").write_text(f"{text}\n", encoding="utf-8")


def load() -> list[Record]:
    """All that are kept."""
    return [Record(**json.loads(path.read_text())) for path in sorted(FOLDER.glob("*.json"))]


def _rounded(value: Any) -> Any:
    """More digits than four would be noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
