"""`manage.py report`: tell what the jobs of the newest import did."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from django_async.models import Error
from warehouse.models import Batch, LedgerEntry, Order, OrderLine, Shipment, StockMove
from warehouse.proofs import SHIP, order_id_of

FRAMES = 4
"""How many lines of a traceback's end are shown."""


class Command(BaseCommand):
    """Tell how the orders fared and who packed them, and look closely at one that failed."""

    help = "Tell what the jobs of the newest import did, and look at one that failed."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the whole report."""
        batch = Batch.objects.order_by("pk").last()
        if batch is None:
            raise CommandError("There is nothing to report: import orders first.")
        self.tell_outcome(batch)
        if example := telling_failure(batch):
            self.tell_failure(*example)

    def tell_outcome(self, batch: Batch) -> None:
        """Print how many orders were shipped, and by which processes."""
        packers = Shipment.objects.filter(order__batch=batch).values_list("packed_by", flat=True)
        orders = Order.objects.filter(batch=batch).count()
        self.stdout.write(
            f"{len(packers):,} of {orders:,} orders of {batch} were shipped,"
            f" {orders - len(packers):,} were not."
        )
        for process, packed in sorted(Counter(packers).items()):
            self.stdout.write(f"  worker process {process} shipped {packed:,}")
        if connection.vendor == "sqlite":
            self.stdout.write(
                "  (SQLite has one writer at a time; a server gives work to all workers)"
            )

    def tell_failure(self, order: Order, error: Error) -> None:
        """Print what a failed order did before it failed, and what is left of it."""
        *taken, missing = lines_of(order)
        self.stdout.write(f"\nOne that failed: order {order} for {order.customer}. Its job")
        self.stdout.write("  wrote a shipment,")
        for line in taken:
            self.stdout.write(f"  took {line} from the shelf and wrote the stock move,")
        self.stdout.write(f"  and then wanted {missing}.")
        self.stdout.write(f"\nWhat the database has of it now, after {error.job.attempts} attempt:")
        for kind, count in remains(order).items():
            self.stdout.write(f"  {count} {kind}")
        self.stdout.write(f"  1 error of job {error.job_id}, which is {error.job.state}:")
        for text in error.traceback.rstrip().splitlines()[-FRAMES:]:
            self.stdout.write(self.style.WARNING(f"    {text}"))


def telling_failure(batch: Batch) -> tuple[Order, Error] | None:
    """Return the failed order that had got furthest before it failed, with its error."""
    failures = Error.objects.filter(job__group__reference=batch.reference, job__name=SHIP)
    orders = Order.objects.filter(batch=batch).in_bulk()
    examples = []
    for error in failures.select_related("job").order_by("job_id"):
        order = orders[order_id_of(error.job)]
        lines = lines_of(order)
        if lines[-1].product.sku in error.exception:
            examples.append((len(lines), order, error))
    return max(examples, key=lambda example: example[0])[1:] if examples else None


def lines_of(order: Order) -> list[OrderLine]:
    """Return the lines of an order in the sequence in which its job takes them."""
    lines = OrderLine.objects.filter(order=order).select_related("product")
    return list(lines.order_by("product_id"))


def remains(order: Order) -> dict[str, int]:
    """Count the rows of each kind that belong to an order."""
    return {
        "shipments": Shipment.objects.filter(order=order).count(),
        "stock moves": StockMove.objects.filter(line__order=order).count(),
        "ledger entries": LedgerEntry.objects.filter(shipment__order=order).count(),
    }
