"""An import: goods are put on the shelves, orders are written, and their jobs are scheduled."""

from pathlib import Path

from django.db import transaction
from django.db.models import F

from django_async.api import schedule, schedule_many
from django_async.models import Group
from warehouse import jobs
from warehouse.csvfiles import BadFile, OrderRow, StockRow, read_orders, read_stock
from warehouse.models import Batch, Delivery, Order, OrderLine, Product


def import_batch(orders_file: Path, stock_file: Path) -> Batch:
    """Import both files and schedule one job an order; all of it or, after an error, nothing.

    Raise BadFile if a file cannot be imported.
    """
    stock_rows, order_rows = read_stock(stock_file), read_orders(orders_file)
    with transaction.atomic():
        batch = Batch.objects.create(source=orders_file.stem)
        receive(batch, stock_rows)
        orders = write_orders(batch, order_rows)
        schedule_shipping(batch, orders)
    return batch


def receive(batch: Batch, rows: list[StockRow]) -> None:
    """Put a delivery on the shelves; products that are new are added to the catalogue."""
    new = [Product(sku=row.sku, name=row.name, price_cents=row.price_cents) for row in rows]
    Product.objects.bulk_create(new, ignore_conflicts=True)
    products = Product.objects.in_bulk([row.sku for row in rows], field_name="sku")
    for row in rows:
        shelf = Product.objects.filter(sku=row.sku)
        shelf.update(on_hand=F("on_hand") + row.delivered, price_cents=row.price_cents)
    Delivery.objects.bulk_create(
        Delivery(batch=batch, product=products[row.sku], quantity=row.delivered) for row in rows
    )


def write_orders(batch: Batch, rows: list[OrderRow]) -> list[Order]:
    """Write the orders with their lines; return them with their ids."""
    customers = {row.number: row.customer for row in rows}
    Order.objects.bulk_create(
        Order(batch=batch, number=number, customer=name) for number, name in customers.items()
    )
    # Read again, because MySQL does not return the ids of a bulk insert.
    orders = {order.number: order for order in Order.objects.filter(batch=batch).order_by("pk")}
    products = {product.sku: product for product in Product.objects.all()}
    try:
        OrderLine.objects.bulk_create(order_line(row, orders, products) for row in rows)
    except KeyError as error:
        raise BadFile(f"unknown product {error}") from error
    return list(orders.values())


def order_line(row: OrderRow, orders: dict[str, Order], products: dict[str, Product]) -> OrderLine:
    """Return the line that `row` describes, at the product's price of today."""
    product = products[row.sku]
    return OrderLine(
        order=orders[row.number],
        product=product,
        quantity=row.quantity,
        price_cents=product.price_cents,
    )


def schedule_shipping(batch: Batch, orders: list[Order]) -> None:
    """Schedule a job for each order, all in one group, and the books to be closed at its end."""
    group = Group.objects.create(
        reference=batch.reference, description=f"Ship the orders of {batch.source}"
    )
    # One attempt only: an order without stock waits for a person, not for a second try.
    once = {"max_attempts": 1}
    schedule_many(
        {"function": jobs.ship, "args": [order.pk], "meta": once, "group": group}
        for order in orders
    )
    group.on_completion(schedule(jobs.reconcile, args=[batch.pk]))
