"""`manage.py grant USER BUCKET AMOUNT`: give an account units beyond its daily caps."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from accounts.models import Account
from bsod.lib.command import ProjectCommand
from bsod.lib.terms import Bucket
from quotas.buckets import BUCKETS
from quotas.meter import Impossible, grant


class Command(ProjectCommand):
    help = "Grant a user units of a bucket; they never expire."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user")
        parser.add_argument("bucket", choices=[bucket.value for bucket in Bucket])
        parser.add_argument("amount", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        account = Account.objects.filter(username=options["user"]).first()
        if account is None:
            raise CommandError(f"There is no user {options['user']!r}; see create_user.")
        bucket = Bucket(options["bucket"])
        try:
            grant(account, bucket, options["amount"])
        except Impossible as error:
            raise CommandError(str(error)) from None
        unit = BUCKETS[bucket].unit
        self.stdout.write(f"Granted {account.username} {options['amount']} {unit} of {bucket}.")
