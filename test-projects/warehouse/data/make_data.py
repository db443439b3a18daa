#!/usr/bin/env python3
"""Write `stock.csv` and `orders.csv` beside this script, the same bytes at every run.

Most products are delivered in plenty. A few are delivered in a quantity that is short of what is
ordered, so that orders compete for them. A few are discontinued: none is delivered, and every
order that holds one must fail. Those stand last in the catalogue, because orders take their goods
in the catalogue's order: such an order has taken the rest of its goods when it fails.
"""

import csv
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

SEED = 1850
ORDERS = 3000
FOLDER = Path(__file__).parent

THINGS = ("bolt", "nut", "washer", "hinge", "bracket", "clamp", "pulley", "bearing", "spring")
KINDS = ("brass", "steel", "zinc", "nylon")
DISCONTINUED = ("bakelite knob", "gas mantle", "valve radio", "whale-bone stay")
SCARCE_EVERY = 9
FIRST_NAMES = ("Ada", "Blaise", "Edsger", "Emmy", "Grace", "Kurt", "Mary", "Niklaus", "Sofia")
LAST_NAMES = ("Abel", "Byron", "Curry", "Dirac", "Erdős", "Fermi", "Gauss", "Hopper", "Ito")

Row = Sequence[str | int]


def main() -> None:
    """Write both files."""
    dice = random.Random(SEED)
    plenty = [f"{kind} {thing}" for kind in KINDS for thing in THINGS]
    catalogue = {f"W{n:03}": name for n, name in enumerate((*plenty, *DISCONTINUED), start=1)}
    skus = list(catalogue)
    orders = list(order_rows(dice, skus[: len(plenty)], skus[len(plenty) :]))
    write("orders.csv", ("order", "customer", "sku", "quantity"), orders)
    stock = stock_rows(dice, catalogue, orders)
    write("stock.csv", ("sku", "name", "price_cents", "delivered"), stock)


def order_rows(dice: random.Random, current: list[str], gone: list[str]) -> Iterable[Row]:
    """Yield the lines of all orders; about one order in fifty holds a discontinued product."""
    for number in range(1, ORDERS + 1):
        customer = f"{dice.choice(FIRST_NAMES)} {dice.choice(LAST_NAMES)}"
        skus = dice.sample(current, dice.choice((1, 2, 2, 2, 3)))
        if dice.random() < 0.02:
            skus.append(dice.choice(gone))
        # As customers write them: not in the catalogue's order.
        dice.shuffle(skus)
        for sku in skus:
            yield f"A{number:04}", customer, sku, dice.randint(1, 9)


def stock_rows(dice: random.Random, catalogue: dict[str, str], orders: list[Row]) -> Iterable[Row]:
    """Yield a delivery of each product, measured by what is ordered of it."""
    ordered: Counter[str] = Counter()
    for _, _, sku, quantity in orders:
        ordered[str(sku)] += int(quantity)
    for position, (sku, name) in enumerate(catalogue.items(), start=1):
        percent = 80 if position % SCARCE_EVERY == 0 else 105
        delivered = 0 if name in DISCONTINUED else ordered[sku] * percent // 100
        yield sku, name, dice.randint(20, 4999), delivered


def write(name: str, header: Row, rows: Iterable[Row]) -> None:
    """Write one CSV file with Unix line ends."""
    with (FOLDER / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
