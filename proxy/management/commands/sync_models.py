"""`manage.py sync_models [SLUG]`: read the providers' model lists into the catalogue."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from bsod.lib.command import ProjectCommand
from proxy.models import Provider
from proxy.service import sync_models


class Command(ProjectCommand):
    help = "Read model lists; of one provider, or of all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", nargs="?")

    def handle(self, *args: Any, **options: Any) -> None:
        providers = Provider.objects.filter(deleted_at=None)
        if options["slug"]:
            providers = providers.filter(slug=options["slug"])
            if not providers:
                raise CommandError(f"There is no provider {options['slug']!r}; see add_provider.")
        silent = []
        for provider in providers:
            count = sync_models(provider)
            if count is None:
                silent.append(provider.slug)
            else:
                self.stdout.write(f"{provider.slug}: {count} models")
        if silent:
            raise CommandError(f"No model list from: {', '.join(silent)}.")
