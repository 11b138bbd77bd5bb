"""`manage.py create_key USER [--name N] [--operator] [--unlimited]`: the last line is the key."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.keys.service import create_key
from accounts.models import Account
from bsod.lib.command import ProjectCommand


class Command(ProjectCommand):
    help = "Create an API key. The last line printed is the key, alone; it is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user")
        parser.add_argument("--name", default="default")
        parser.add_argument(
            "--operator",
            action="store_true",
            help="staff only: owns nothing, sees every object of the upstream accounts",
        )
        parser.add_argument("--unlimited", action="store_true", help="metered, never refused")

    def handle(self, *args: Any, **options: Any) -> None:
        account = Account.objects.filter(username=options["user"]).first()
        if account is None:
            raise CommandError(f"There is no user {options['user']!r}; see create_user.")
        try:
            key, text = create_key(
                account,
                options["name"],
                operator=options["operator"],
                unlimited=options["unlimited"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"Key {key.name!r} of {account.username}, shown once:")
        self.stdout.write(text)
