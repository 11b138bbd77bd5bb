"""System checks: what must hold of the project before it takes a request."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from proxy.routes import ROUTES, Close, Plane


@register(Tags.urls)
def routes_are_metered(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """A row that spends upstream money names its modality, from which its bucket follows."""
    return [
        Error(f"{route.method} {route.path} reaches a provider unmetered", id="bsod.E001")
        for route in ROUTES
        if route.upstream and (route.close is Close.FREE or route.modality is None)
    ] + [
        Error(f"{route.method} {route.path} is answered by nobody", id="bsod.E002")
        for route in ROUTES
        if route.plane is Plane.GATEWAY and not route.upstream and not route.local
    ]


@register(Tags.security)
def secrets_are_private(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Nobody else on the machine can read the secrets or the database."""
    names = ("secrets.json", "bsod.sqlite3")
    return [
        Error(f"{name} in DATA_DIR can be read by others: chmod 600 it", id="bsod.E003")
        for name in names
        if (settings.DATA_DIR / name).exists()
        and (settings.DATA_DIR / name).stat().st_mode & 0o077
        and settings.DATA_DIR.stat().st_mode & 0o077
    ]
