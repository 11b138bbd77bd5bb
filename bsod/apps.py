"""The project's own app: commands that join apps, and the system checks. And Django's admin, with
our site in place of its own."""

from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig


class SiteConfig(AppConfig):
    name = "bsod"
    verbose_name = "BSOD"

    def ready(self) -> None:
        from bsod import checks  # noqa: F401  # importing registers them


class Backstage(SimpleAdminConfig):
    """Its pages are read with the URLs, not at every start: half of what a command would load."""

    default = False
    default_site = "bsod.backstage.site.Backstage"
    default_auto_field = "django.db.models.AutoField"

    def ready(self) -> None:
        """Its check comes with ours, which reads the pages first."""
