"""`manage.py make_codes NAME --give BUCKET=AMOUNT`: an offer and its codes, printed once."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from bsod.lib import clock
from bsod.lib.command import ProjectCommand
from promos.models import Promo
from promos.service import make_codes


class Command(ProjectCommand):
    help = "Make promo codes. They are printed once, a line each, and kept nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--give", action="append", required=True, metavar="BUCKET=AMOUNT")
        parser.add_argument("--count", type=int, default=1, help="how many codes")
        parser.add_argument("--uses", type=int, default=1, help="of each code; 0: any number")
        parser.add_argument("--per-user", type=int, default=1)
        parser.add_argument("--first-users-only", action="store_true")
        parser.add_argument("--valid-days", type=int, help="days the codes can be redeemed")
        parser.add_argument("--grant-days", type=int, help="days what they give lasts")
        parser.add_argument("--code", default="", help="a chosen code, instead of a random one")

    def handle(self, *args: Any, **options: Any) -> None:
        now, days = clock.now(), options["valid_days"]
        try:
            promo = Promo(
                name=options["name"],
                grants=dict(map(_give, options["give"])),
                grant_days=options["grant_days"],
                uses=options["uses"] or None,
                per_user=options["per_user"],
                first_users_only=options["first_users_only"],
                valid_from=now,
                valid_until=None if days is None else now + timedelta(days=days),
            )
            made = make_codes(promo, count=options["count"], chosen=options["code"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except OverflowError:
            raise CommandError("--valid-days is too many.") from None
        for code in made:
            self.stdout.write(code)


def _give(text: str) -> tuple[str, int]:
    bucket, _, amount = text.partition("=")
    if not amount.isdecimal():
        raise CommandError(f"--give is BUCKET=AMOUNT, such as image=10, not {text!r}.")
    return bucket, int(amount)
