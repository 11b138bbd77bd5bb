from django.apps import AppConfig


class IncidentsConfig(AppConfig):
    name = "bsod.incidents"
