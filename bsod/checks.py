"""System checks: what must hold of the project before it takes a request."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Error, Tags, register

from proxy.route import Plane, Route
from proxy.routes import ROUTES


@register(Tags.urls)
def routes_are_metered(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """What spends upstream money has a bucket, what names an upstream id an owner, and every row
    is answered by somebody."""
    return [Error(f"{route.method} {route.path} {fault}", id=id_)
            for route in ROUTES for id_, fault in _faults(route)]  # fmt: skip


def _faults(route: Route) -> Iterator[tuple[str, str]]:
    if route.spends and not (route.service and (route.modality or route.bucket)):
        yield "bsod.E001", "spends and has no bucket"
    if route.modality and not route.spends:
        yield "bsod.E001", "has a model work for nothing"
    if route.service and route.variables and route.owns is None:
        yield "bsod.E004", "takes an id that nobody owns"
    if route.service and route.method == "GET" and not route.variables and not route.lists:
        yield "bsod.E004", "shows what everybody has there"
    if route.plane is Plane.GATEWAY and bool(route.service) == bool(route.local):
        yield "bsod.E002", "is answered by nobody, or by two"


@register(Tags.admin)
def admin_is_sound(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Django's own checks of the admin, whose pages are known once the URLs have been read."""
    import_module(settings.ROOT_URLCONF)
    return [*check_dependencies(app_configs=app_configs), *check_admin_app(app_configs)]


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
