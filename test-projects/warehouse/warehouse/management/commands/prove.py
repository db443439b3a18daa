"""`manage.py prove`: check that the warehouse's sums are right."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from warehouse.models import Batch
from warehouse.proofs import Finding, findings

SHOWN = 5


class Command(BaseCommand):
    """Print each claim with its verdict; exit with status 1 if one does not hold."""

    help = "Prove the sums of the warehouse against its database, after its jobs have run."

    def handle(self, *args: Any, **options: Any) -> None:
        """Check all claims, and fail after the last one rather than at the first."""
        if not Batch.objects.exists():
            raise CommandError("There is nothing to prove: import orders first.")
        if broken := [finding for finding in findings() if not self.holds(finding)]:
            raise CommandError(f"{len(broken)} of the claims above do not hold.")

    def holds(self, finding: Finding) -> bool:
        """Print a finding; return whether nothing speaks against it."""
        if not finding.flaws:
            self.stdout.write(self.style.SUCCESS("ok     ") + finding.claim)
            return True
        self.stdout.write(self.style.ERROR("WRONG  ") + finding.claim)
        for flaw in finding.flaws[:SHOWN]:
            self.stdout.write(f"       - {flaw}")
        if len(finding.flaws) > SHOWN:
            self.stdout.write(f"       - and {len(finding.flaws) - SHOWN:,} more")
        return False
