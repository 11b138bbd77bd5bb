"""`manage.py audit_ledger`: adds the ledger up; a drift is an exit code other than 0."""

from typing import Any

from django.core.management.base import CommandError

from bsod.lib.command import ProjectCommand
from quotas.audit import audit


class Command(ProjectCommand):
    help = "Check that every balance equals the sum of its entries."

    def handle(self, *args: Any, **options: Any) -> None:
        result = audit()
        self.stdout.write(
            f"{result.balances} balances, {result.closed_entries} closed entries, "
            f"{result.open_entries} open"
        )
        for bucket, amount in sorted(result.amounts.items()):
            self.stdout.write(f"  {bucket}: {amount} charged")
        for drift in result.drift:
            self.stdout.write(
                f"  balance {drift.balance}: {drift.field} is {drift.stored}, "
                f"its entries say {drift.entries}"
            )
        if result.drift:
            raise CommandError(f"{len(result.drift)} balances have drifted from their entries")
        self.stdout.write("The ledger adds up.")
