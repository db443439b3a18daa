"""The two files of an import, read and checked row by row."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Row = TypeVar("Row")


class BadFile(Exception):
    """A file cannot be imported; the message names the line."""


@dataclass(frozen=True)
class StockRow:
    """A product and how many pieces of it are delivered."""

    sku: str
    name: str
    price_cents: int
    delivered: int


@dataclass(frozen=True)
class OrderRow:
    """One line of an order."""

    number: str
    customer: str
    sku: str
    quantity: int


def read_stock(path: Path) -> list[StockRow]:
    """Return the rows of a file with the columns sku, name, price_cents and delivered."""
    return read(path, stock_row)


def read_orders(path: Path) -> list[OrderRow]:
    """Return the rows of a file with the columns order, customer, sku and quantity."""
    return read(path, order_row)


def read(path: Path, parse: Callable[[dict[str, str]], Row]) -> list[Row]:
    """Return the parsed rows of a CSV file; raise BadFile if it has none, or one that is wrong."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        try:
            rows = [parse(line) for line in lines]
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise BadFile(f"{path.name}, line {lines.line_num}: {error!r}") from error
    if not rows:
        raise BadFile(f"{path.name} is empty")
    return rows


def stock_row(row: dict[str, str]) -> StockRow:
    """Parse one row of a stock file."""
    return StockRow(
        row["sku"], row["name"], at_least(0, row["price_cents"]), at_least(0, row["delivered"])
    )


def order_row(row: dict[str, str]) -> OrderRow:
    """Parse one row of an order file."""
    return OrderRow(row["order"], row["customer"], row["sku"], at_least(1, row["quantity"]))


def at_least(least: int, text: str) -> int:
    """Return the whole number in `text`; raise ValueError below `least`."""
    number = int(text)
    if number < least:
        raise ValueError(f"{number} is less than {least}")
    return number
