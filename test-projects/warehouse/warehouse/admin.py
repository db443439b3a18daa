"""The warehouse in Django's admin, to look at and not to change."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

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


class ReadOnly:
    """Rows that people look at; only jobs and imports write them."""

    def has_add_permission(self, request: HttpRequest, *_: Any) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes."""
        return False


# Django's admin classes take type arguments in the stubs only, not when they run.
class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """A list of rows and a page for each."""


class ReadOnlyTable(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    """Rows on the page of the row that they belong to."""


class Lines(ReadOnlyTable):
    """The lines of an order, on its page."""

    model = OrderLine


class Moves(ReadOnlyTable):
    """The stock moves of a shipment, on its page."""

    model = StockMove


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    """Imports."""

    list_display = ("reference", "imported")


@admin.register(Product)
class ProductAdmin(ReadOnlyAdmin):
    """The catalogue and its shelves."""

    list_display = ("sku", "name", "price_cents", "on_hand")
    search_fields = ("sku", "name")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Goods that came in."""

    list_display = ("product", "quantity", "batch")
    list_filter = ("batch",)


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """Orders, those that were shipped and those that were not."""

    list_display = ("number", "customer", "batch")
    list_filter = ("batch", ("shipment", admin.EmptyFieldListFilter))
    search_fields = ("number", "customer")
    inlines = (Lines,)


@admin.register(Shipment)
class ShipmentAdmin(ReadOnlyAdmin):
    """Orders that left the house."""

    list_display = ("order", "cents", "packed_by", "packed")
    list_filter = ("packed_by",)
    list_select_related = ("order",)
    search_fields = ("order__number",)
    inlines = (Moves,)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    """Money owed."""

    list_display = ("shipment", "cents")
    list_select_related = ("shipment__order",)


@admin.register(Reconciliation)
class ReconciliationAdmin(ReadOnlyAdmin):
    """Closed books."""

    list_display = ("batch", "shipped", "unshipped", "cents", "closed")
