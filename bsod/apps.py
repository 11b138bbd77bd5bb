"""The project's own app: commands that join apps, and the system checks. And Django's admin, with
our site in place of its own."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class SiteConfig(AppConfig):
    name = "bsod"
    verbose_name = "BSOD"

    def ready(self) -> None:
        from bsod import checks  # noqa: F401  # importing registers them


class Backstage(AdminConfig):
    default = False
    default_site = "bsod.backstage.site.Backstage"
    default_auto_field = "django.db.models.AutoField"

    def ready(self) -> None:
        super().ready()
        from bsod.backstage import lists

        lists.settle()
