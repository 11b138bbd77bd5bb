"""`manage.py rotate_vault`: after a new first key in VAULT_KEYS, seal everything under it."""

from typing import Any

from django.core.management.base import CommandError

from accounts.factors import reseal
from bsod.lib.command import ProjectCommand
from proxy.service import rotate_vault


class Command(ProjectCommand):
    help = "Seal every provider key and second factor under the first of VAULT_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        count, broken = rotate_vault()
        factors, lost = reseal()
        self.stdout.write(f"{count} provider keys sealed anew, and {factors} second factors.")
        if broken or lost:
            names = ", ".join([*map(str, broken), *lost])
            raise CommandError(f"No key of VAULT_KEYS opens: {names}. Add these secrets again.")
