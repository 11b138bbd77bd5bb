"""The project's own app: commands that join apps, and the system checks."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "bsod"
    verbose_name = "BSOD"

    def ready(self) -> None:
        from bsod import checks  # noqa: F401  # importing registers them
