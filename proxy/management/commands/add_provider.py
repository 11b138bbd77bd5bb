"""`manage.py add_provider SLUG --kind KIND --base-url URL --key SECRET [--key …] [--catch-all]`."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from bsod.lib.command import ProjectCommand
from proxy.providers.registry import ADAPTERS
from proxy.service import Unknown, add_provider


class Command(ProjectCommand):
    help = "Add a provider, or change one and add keys to it. Keys are probed and stored sealed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--kind", required=True, help=", ".join(sorted(ADAPTERS)))
        parser.add_argument("--base-url", required=True, help="e.g. https://api.openai.com/v1")
        parser.add_argument(
            "--key", action="append", required=True,
            help="a secret, or - to read secrets from stdin, one a line; repeatable",
        )  # fmt: skip
        parser.add_argument("--proxy-url", default="", help="an outbound HTTP proxy")
        parser.add_argument(
            "--catch-all", action="store_true", help="takes model ids that nobody lists"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if "-" in options["key"]:
            # What stands in a command line everybody on the machine can read.
            options["key"] = [k for k in options["key"] if k != "-"] + sys.stdin.read().split()
        if not options["key"]:
            raise CommandError("No secret came by stdin.")
        try:
            added = add_provider(
                options["slug"],
                options["kind"],
                options["base_url"],
                options["key"],
                catch_all=options["catch_all"],
                proxy_url=options["proxy_url"],
            )
        except Unknown as error:
            raise CommandError(str(error)) from None
        for key, found in added.findings:
            self.stdout.write(f"key …{key.last4} {found.note}")
            if not found.works:
                self.stderr.write(
                    f"key …{key.last4} rests; the worker probes it again until it answers"
                )
        self.stdout.write(f"{added.provider.slug}: {added.models} models listed")
