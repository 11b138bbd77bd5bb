"""`manage.py rotate_vault`: after a new first key in VAULT_KEYS, seal everything under it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from proxy.service import rotate_vault


class Command(BaseCommand):
    help = "Seal every provider key under the first of VAULT_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        count, broken = rotate_vault()
        self.stdout.write(f"{count} provider keys sealed anew.")
        if broken:
            names = ", ".join(map(str, broken))
            raise CommandError(f"No key of VAULT_KEYS opens: {names}. Add these secrets again.")
