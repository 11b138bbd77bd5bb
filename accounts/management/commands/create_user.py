"""`manage.py create_user NAME [--plan P] [--admin]`: make an account from a shell."""

import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.service import create_account
from bsod.lib.command import ProjectCommand


class Command(ProjectCommand):
    help = "Create an account; --admin prints a password for /admin/, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--plan", default="free", help="free, supporter, pro, …")
        parser.add_argument("--admin", action="store_true", help="may use /admin/")

    def handle(self, *args: Any, **options: Any) -> None:
        password = secrets.token_urlsafe(12) if options["admin"] else None
        try:
            account = create_account(
                options["name"], password=password, plan=options["plan"], admin=options["admin"]
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"Created {account.username} on plan {account.plan_id}.")
        if password:
            self.stdout.write(f"Password for /admin/ (shown once): {password}")
