"""What a warehouse keeps: goods on its shelves, orders, shipments and the money they bring.

    Batch --< Order --< OrderLine >-- Product
      |         |           |            |
      |      Shipment --< StockMove >----+
      |         |                        |
      |    LedgerEntry                   |
      +--< Delivery >--------------------+
      +--< Reconciliation

Money is in whole cents. No constraint says that an order has one shipment at most, or a shipment
one ledger entry: to ship each order exactly once is what the queue promises here, and
`manage.py prove` counts whether it was kept.
"""

from django.db import models


class Product(models.Model):
    """Goods of one kind; `on_hand` counts the pieces on the shelf."""

    sku = models.CharField(max_length=16, unique=True)
    name = models.CharField(max_length=80)
    price_cents = models.PositiveIntegerField()
    on_hand = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"


class Batch(models.Model):
    """One import of a file of orders, together with the goods delivered for it."""

    source = models.CharField(max_length=80)
    imported = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return self.reference

    @property
    def reference(self) -> str:
        """The reference of the group of jobs that ship this batch."""
        return f"import-{self.source}-{self.pk}"


class Delivery(models.Model):
    """Goods that came in."""

    batch = models.ForeignKey(Batch, models.PROTECT)
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField()

    class Meta:
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product}"


class Order(models.Model):
    """What a customer wants; shipped whole or not at all."""

    batch = models.ForeignKey(Batch, models.PROTECT)
    number = models.CharField(max_length=16)
    customer = models.CharField(max_length=80)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["batch", "number"], name="one_order_a_number"),
        )

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    """One product of an order, at the price of the day of the order."""

    order = models.ForeignKey(Order, models.PROTECT)
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField()
    price_cents = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product}"

    @property
    def cents(self) -> int:
        """What the line costs."""
        return self.quantity * self.price_cents


class Shipment(models.Model):
    """An order that left the house."""

    order = models.ForeignKey(Order, models.PROTECT)
    cents = models.PositiveIntegerField()
    packed_by = models.PositiveIntegerField("packed by process")
    packed = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"shipment of {self.order}"


class StockMove(models.Model):
    """Goods taken from the shelf for one line of a shipment."""

    shipment = models.ForeignKey(Shipment, models.PROTECT)
    line = models.ForeignKey(OrderLine, models.PROTECT)
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product}"


class LedgerEntry(models.Model):
    """What a customer owes for a shipment."""

    shipment = models.ForeignKey(Shipment, models.PROTECT)
    cents = models.PositiveIntegerField()

    class Meta:
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.cents / 100:,.2f}"


class Reconciliation(models.Model):
    """The books of a batch, closed after its last order."""

    batch = models.ForeignKey(Batch, models.PROTECT)
    shipped = models.PositiveIntegerField("orders shipped")
    unshipped = models.PositiveIntegerField("orders not shipped")
    cents = models.PositiveBigIntegerField()
    closed = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"books of {self.batch}"
