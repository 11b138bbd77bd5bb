"""`manage.py forget_factors NAME --reason …`: let somebody in who has lost his second factor."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from accounts.backend import find
from accounts.flows.forget_factors import forget_factors
from bsod.lib.command import ProjectCommand


class Command(ProjectCommand):
    help = "Forget an account's authenticator app, passkeys and recovery codes; end its sessions."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--reason", required=True, help="kept in the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        account = find(options["name"])
        if account is None:
            raise CommandError(f"There is no account {options['name']}.")
        if not forget_factors(account, by=None, reason=options["reason"]):
            raise CommandError(f"{account.username} has no second factor; the sessions have ended.")
        self.stdout.write(f"{account.username} signs in with the password alone now.")
