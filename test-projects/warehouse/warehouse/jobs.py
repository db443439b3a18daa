"""The work of the warehouse. Each function here is run as a job, in a transaction of its own."""

import os
import time

from django.db.models import F, Sum

from django_async import current_job
from warehouse.models import (
    Batch,
    LedgerEntry,
    Order,
    OrderLine,
    Product,
    Reconciliation,
    Shipment,
    StockMove,
)


class OutOfStock(Exception):
    """There are fewer pieces of a product on the shelf than an order wants."""


class LedgerOutOfBalance(Exception):
    """The ledger and the shipments of a batch differ."""


def ship(order_id: int) -> dict[str, int]:
    """Ship one order and book what it costs; return the shipment's id and cents.

    Nothing is looked up beforehand: the shipment is written, the goods are taken line by line, and
    a later line may find its shelf empty. The OutOfStock that it raises undoes all the rest.
    """
    # All orders take their goods in one sequence, so no two wait for each other on a server.
    lines = list(OrderLine.objects.filter(order_id=order_id).order_by("product_id"))
    order = Order.objects.get(pk=order_id)
    shipment = Shipment.objects.create(
        order=order, cents=sum(line.cents for line in lines), packed_by=os.getpid()
    )
    for line in lines:
        take_from_shelf(line, shipment)
    LedgerEntry.objects.create(shipment=shipment, cents=shipment.cents)
    return {"shipment": shipment.pk, "cents": shipment.cents}


def take_from_shelf(line: OrderLine, shipment: Shipment) -> None:
    """Take the goods of `line` for `shipment`; raise OutOfStock if there are too few."""
    shelf = Product.objects.filter(pk=line.product_id)
    # One statement tests and takes, so two workers cannot both have the last piece.
    if not shelf.filter(on_hand__gte=line.quantity).update(on_hand=F("on_hand") - line.quantity):
        product = shelf.get()
        raise OutOfStock(f"{product}: {line.quantity} wanted, {product.on_hand} on hand")
    StockMove.objects.create(
        shipment=shipment, line=line, product_id=line.product_id, quantity=line.quantity
    )


def take_stock(shelf: str = "all", steps: int = 60, pause: float = 1.0) -> int:
    """Count what is on a shelf, step by step, and say how far it is; return the pieces.

    It takes long and changes nothing, so that it is scheduled with ``meta={"atomic": False}``.
    """
    running = current_job()
    for step in range(steps):
        if running:
            running.progress(step, steps, f"shelf {shelf}")
        time.sleep(pause)
    return Product.objects.aggregate(Sum("on_hand"))["on_hand__sum"] or 0


def reconcile(batch_id: int) -> dict[str, int]:
    """Close the books of a batch; return how many orders were shipped and the cents booked.

    Raise LedgerOutOfBalance if the ledger does not hold what was shipped.
    """
    shipments = Shipment.objects.filter(order__batch_id=batch_id)
    entries = LedgerEntry.objects.filter(shipment__order__batch_id=batch_id)
    shipped_cents = shipments.aggregate(sum=Sum("cents"))["sum"] or 0
    booked_cents = entries.aggregate(sum=Sum("cents"))["sum"] or 0
    if shipped_cents != booked_cents:
        raise LedgerOutOfBalance(f"shipped for {shipped_cents} cents, booked {booked_cents}")
    shipped = shipments.count()
    Reconciliation.objects.create(
        batch=Batch.objects.get(pk=batch_id),
        shipped=shipped,
        unshipped=Order.objects.filter(batch_id=batch_id).count() - shipped,
        cents=booked_cents,
    )
    return {"shipped": shipped, "cents": booked_cents}
