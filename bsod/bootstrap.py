"""The first run: a database, an admin, a key, the bundled model and the environment's providers."""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from accounts.keys.service import create_key
from accounts.models import Account
from accounts.service import create_account
from bsod.lib import clock
from bsod.settings import env
from proxy.models import Provider, ProviderKey
from proxy.pool import bump, vault
from proxy.providers.registry import KNOWN
from proxy.service import add_provider

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Welcome:
    """What is shown once, on the first run."""

    username: str
    password: str
    key: str


def migrate() -> None:
    call_command("migrate", verbosity=0, interactive=False)
    if connection.vendor == "sqlite":
        os.chmod(connection.settings_dict["NAME"], 0o600)


def first_people() -> Welcome | None:
    """The first admin and key, or None when somebody is here already."""
    if Account.objects.exists():
        return None
    password = secrets.token_urlsafe(12)
    account = create_account("admin", password=password, admin=True)
    _, key = create_key(account, "first key")
    return Welcome(account.username, password, key)


def local_key() -> str:
    """What the gateway and the bundled model know each other by; nobody else on the machine."""
    secret = hmac.new(settings.SECRET_KEY.encode(), b"local-model", hashlib.sha256)
    return f"local-{secret.hexdigest()}"


def local_provider(port: int) -> int:
    """Point the provider `local` at the model that has just started; returns its models."""
    url = f"http://127.0.0.1:{port}/v1"
    return add_provider(LOCAL, LOCAL, url, [local_key()]).models


def no_local_provider() -> None:
    """`LOCAL_MODEL=off`: what an earlier run added is taken out of the pool."""
    if Provider.objects.filter(slug=LOCAL, deleted_at=None).update(deleted_at=clock.now()):
        bump()


def environment_providers() -> list[str]:
    """Add the providers whose `<SLUG>_API_KEY` is set; returns a line on each that is new."""
    lines = []
    for known in KNOWN:
        secret = env(f"{known.slug.upper()}_API_KEY")
        url = env(f"{known.slug.upper()}_BASE_URL", known.base_url).rstrip("/")
        if not secret or _there(known.slug, secret, url):
            continue
        added = add_provider(known.slug, known.kind, url, [secret])
        note = ", ".join(found.note for _, found in added.findings)
        lines.append(f"{known.slug}: key …{secret[-4:]} {note}; {added.models} models")
    return lines


def _there(slug: str, secret: str, url: str) -> bool:
    return ProviderKey.objects.filter(
        provider__slug=slug,
        provider__base_url=url,
        provider__deleted_at=None,
        fingerprint=vault().fingerprint(secret),
        deleted_at=None,
    ).exists()
