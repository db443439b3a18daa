"""The scenarios, by their names."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING

from faults.scale import Figures, Scale

if TYPE_CHECKING:
    from faults.world import World

ALL = ("sqlite", "postgres", "mysql")
SERVERS = ("postgres", "mysql")

Run = Callable[["World", Scale, Random], Figures]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of fault.

    Attributes:
        number: its place in the order.
        limit: seconds after which its short form hangs, to say the least.
    """

    number: float
    name: str
    databases: tuple[str, ...]
    run: Run
    limit: float

    @property
    def about(self) -> str:
        """What it does, in a sentence."""
        return (self.run.__doc__ or "").partition("\n\n")[0].replace("\n    ", " ")


_known: dict[str, Scenario] = {}


def scenario(
    number: float, name: str, databases: tuple[str, ...] = ALL, *, limit: float = 120.0
) -> Callable[[Run], Run]:
    """Register a function as a scenario on these databases."""

    def register(run: Run) -> Run:
        _known[name] = Scenario(number, name, databases, run, limit)
        return run

    return register


def scenarios() -> dict[str, Scenario]:
    """All there are, in order; their modules need Django's apps to be ready."""
    package = import_module("faults.scenarios")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"faults.scenarios.{module.name}")
    return dict(sorted(_known.items(), key=lambda item: item[1].number))
