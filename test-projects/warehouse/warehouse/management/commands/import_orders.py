"""`manage.py import_orders`: import orders and schedule the jobs that ship them."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from warehouse.csvfiles import BadFile
from warehouse.imports import import_batch
from warehouse.models import Order, OrderLine

DATA = Path(settings.BASE_DIR) / "data"


class Command(BaseCommand):
    """Import a file of orders and a delivery of stock in one transaction with their jobs."""

    help = "Import orders and a delivery of stock, and schedule one job an order."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Name the two files."""
        parser.add_argument("orders", nargs="?", type=Path, default=DATA / "orders.csv")
        parser.add_argument("--stock", type=Path, default=DATA / "stock.csv")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and say what was imported."""
        try:
            batch = import_batch(options["orders"], options["stock"])
        except (BadFile, OSError) as error:
            raise CommandError(f"Nothing imported: {error}") from error
        orders = Order.objects.filter(batch=batch).count()
        lines = OrderLine.objects.filter(order__batch=batch).count()
        self.stdout.write(
            f"{orders:,} orders with {lines:,} lines, a delivery of stock, {orders:,} shipping jobs"
            f"\nin the group {batch.reference} and its final job, committed in one transaction."
        )
