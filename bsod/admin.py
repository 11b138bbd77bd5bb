"""What of the admin joins apps: Django finds it here."""

from bsod.backstage import donations, people, plans
from bsod.backstage.pool import catalogue, keys, providers, rests

__all__ = ["catalogue", "donations", "keys", "people", "plans", "providers", "rests"]
