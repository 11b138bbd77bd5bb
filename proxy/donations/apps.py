from django.apps import AppConfig


class DonationsConfig(AppConfig):
    name = "proxy.donations"
    label = "donations"
    default_auto_field = "django.db.models.BigAutoField"
