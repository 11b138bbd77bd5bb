"""`manage.py rotate_vault`: after a new first key in VAULT_KEYS, seal everything under it."""

from typing import Any

from django.core.management.base import BaseCommand

from proxy.service import rotate_vault


class Command(BaseCommand):
    help = "Seal every provider key under the first of VAULT_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{rotate_vault()} provider keys sealed anew.")
