"""What must be true of the warehouse once its jobs have run, checked against the database.

A proof trusts nothing that a job returned or summed up: it adds the rows up again, and compares
tables that were written at different times by different code.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet, Sum
from django.db.models.expressions import Combinable

from django_async.models import Error, Job
from warehouse.models import (
    Batch,
    Delivery,
    LedgerEntry,
    Order,
    OrderLine,
    Product,
    Reconciliation,
    Shipment,
    StockMove,
)

SHIP = "warehouse.jobs.ship"
SHIPPED, FAILED = "shipped", "failed"


@dataclass(frozen=True)
class Finding:
    """A claim in words, and what speaks against it."""

    claim: str
    flaws: list[str]


def findings() -> Iterator[Finding]:
    """Yield what each proof finds, over all imports."""
    proofs: tuple[Callable[[], Finding], ...] = (
        shelves_add_up,
        moves_match_lines,
        ledger_matches_shipments,
        orders_shipped_or_failed,
        failures_lacked_stock,
        books_closed_last,
    )
    for proof in proofs:
        yield proof()


def shelves_add_up() -> Finding:
    """For each product: what is on hand and what was shipped make what was delivered."""
    delivered = totals(Delivery.objects.all(), "product_id", "quantity")
    shipped = totals(StockMove.objects.all(), "product_id", "quantity")
    products = list(Product.objects.order_by("sku"))
    flaws = [
        f"{product}: {product.on_hand} on hand + {shipped[product.pk]} shipped"
        f" is not {delivered[product.pk]} delivered"
        for product in products
        if product.on_hand + shipped[product.pk] != delivered[product.pk]
    ]
    on_hand = sum(product.on_hand for product in products)
    return Finding(
        f"stock: {on_hand:,} pieces on hand + {shipped.total():,} shipped"
        f" = {delivered.total():,} delivered, and so for each of {len(products)} products",
        flaws,
    )


def moves_match_lines() -> Finding:
    """A stock move for each line of a shipped order, and for nothing else."""
    lines = OrderLine.objects.filter(order__in=Shipment.objects.values("order"))
    wanted = Counter(lines.values_list("order", "pk", "product", "quantity"))
    moved = Counter(StockMove.objects.values_list("shipment__order", "line", "product", "quantity"))
    numbers = dict(Order.objects.values_list("pk", "number"))
    flaws = [
        *(f"order {numbers[row[0]]}: no stock move for a line shipped" for row in wanted - moved),
        *(f"order {numbers[row[0]]}: a stock move too many" for row in moved - wanted),
    ]
    return Finding(
        f"moves: {moved.total():,}, one for each line of a shipped order, and none besides", flaws
    )


def ledger_matches_shipments() -> Finding:
    """One ledger entry for each shipment, and both for what the order's lines cost."""
    costs = totals(OrderLine.objects.all(), "order_id", F("quantity") * F("price_cents"))
    booked: dict[int, list[int]] = {}
    for shipment_id, cents in LedgerEntry.objects.values_list("shipment", "cents"):
        booked.setdefault(shipment_id, []).append(cents)
    shipments = list(Shipment.objects.select_related("order"))
    flaws = [
        f"{shipment}: worth {shipment.cents} cents, its lines {costs[shipment.order_id]},"
        f" booked {booked.get(shipment.pk, [])}"
        for shipment in shipments
        if not [shipment.cents] == booked.get(shipment.pk) == [costs[shipment.order_id]]
    ]
    entries = sum(map(len, booked.values()))
    total = sum(map(sum, booked.values())) / 100
    return Finding(
        f"ledger: {entries:,} entries = {len(shipments):,} shipments, {total:,.2f} in both",
        flaws,
    )


def orders_shipped_or_failed() -> Finding:
    """Each order was shipped exactly once, or failed with exactly one error; no job is astray."""
    jobs: dict[int, list[Job]] = {}
    for job in Job.objects.filter(name=SHIP):
        jobs.setdefault(order_id_of(job), []).append(job)
    shipments = Counter(Shipment.objects.values_list("order_id", flat=True))
    errors = Counter(Error.objects.values_list("job_id", flat=True))
    outcomes = {
        order: outcome_of(jobs.pop(order.pk, []), shipments[order.pk], errors)
        for order in Order.objects.select_related("batch").order_by("pk")
    }
    count = Counter(outcomes.values())
    flaws = [
        f"{order.batch}, order {order}: {outcome}"
        for order, outcome in outcomes.items()
        if outcome not in (SHIPPED, FAILED)
    ]
    flaws += [f"{job} of no order" for astray in jobs.values() for job in astray]
    return Finding(
        f"orders: {len(outcomes):,} = {count[SHIPPED]:,} shipped exactly once"
        f" + {count[FAILED]:,} failed with exactly one error",
        flaws if outcomes else ["there are no orders"],
    )


def outcome_of(jobs: list[Job], shipments: int, errors: Counter[int]) -> str:
    """Return SHIPPED, FAILED, or in words why an order is neither."""
    if len(jobs) != 1:
        return f"{len(jobs)} jobs instead of one"
    [job] = jobs
    match job.state, shipments, errors[job.pk]:
        case "executed", 1, 0:
            return SHIPPED
        case "discarded", 0, 1:
            return FAILED
    return (
        f"{shipments} shipments, and its job {job.pk} is {job.state} with {errors[job.pk]} errors"
    )


def failures_lacked_stock() -> Finding:
    """In the newest import, each failed order says OutOfStock, and wants more than is left.

    Since its delivery the shelves were only ever emptied: an order that lacked goods lacks them
    still, and one whose goods are all there failed without a reason.
    """
    newest = Batch.objects.latest("pk")
    unshipped = Order.objects.filter(batch=newest).exclude(pk__in=Shipment.objects.values("order"))
    short = OrderLine.objects.filter(quantity__gt=F("product__on_hand")).values("order")
    errors = Error.objects.filter(job__group__reference=newest.reference, job__name=SHIP)
    others = errors.exclude(exception__contains="OutOfStock").select_related("job")
    flaws = [
        f"order {order}: not shipped, though in stock" for order in unshipped.exclude(pk__in=short)
    ]
    flaws += [f"{error.job}: {error.exception}" for error in others]
    return Finding(
        f"failures: {unshipped.count():,} in {newest}, each of them OutOfStock with a short shelf",
        flaws,
    )


def books_closed_last() -> Finding:
    """For each batch one reconciliation, whose figures only its last order made true."""
    batches = list(Batch.objects.order_by("pk"))
    flaws = [f"{batch}: {flaw}" for batch in batches if (flaw := flaw_in_books(batch))]
    return Finding(
        f"books: {len(batches)} closed, one for each import and after its last order", flaws
    )


def flaw_in_books(batch: Batch) -> str:
    """Return what is wrong with the reconciliation of a batch, or an empty string."""
    books = list(Reconciliation.objects.filter(batch=batch))
    if len(books) != 1:
        return f"{len(books)} reconciliations instead of one"
    shipments = Shipment.objects.filter(order__batch=batch)
    shipped = shipments.count()
    unshipped = Order.objects.filter(batch=batch).count() - shipped
    cents = shipments.aggregate(sum=Sum("cents"))["sum"] or 0
    closed = (books[0].shipped, books[0].unshipped, books[0].cents)
    if closed != (shipped, unshipped, cents):
        return f"closed with {closed}, but is {(shipped, unshipped, cents)}"
    return ""


def order_id_of(job: Job) -> int:
    """Return the id of the order that a shipping job is about."""
    [order_id] = json.loads(job.args)
    return int(order_id)


def totals(rows: QuerySet[Any], key: str, amount: str | Combinable) -> Counter[int]:
    """Return the sum of `amount` for each value of `key`."""
    return Counter(dict(rows.order_by().values_list(key).annotate(total=Sum(amount))))
