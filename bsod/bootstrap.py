"""The first run: a database, an admin, a key, the bundled model and the environment's providers."""

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import Tags, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction

from accounts.keys.service import create_key
from accounts.models import Account
from accounts.service import create_account
from bsod.lib import clock
from bsod.lib.terms import Modality
from bsod.settings import env
from proxy.models import Offer, Provider, ProviderKey
from proxy.pool import bump, vault
from proxy.providers.registry import KNOWN, Known
from proxy.service import Unknown, add_provider

LOCAL = "local"
# What depends on a site's settings; what depends on our code alone `make check` has seen.
CONFIGURED = (Tags.caches, Tags.files, Tags.security, Tags.staticfiles, Tags.translation)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What is shown once, on the first run."""

    username: str
    password: str
    key: str


def check() -> None:
    """Raises ImproperlyConfigured: a system check found an error; production checks more."""
    found = run_checks(tags=CONFIGURED, include_deployment_checks=settings.PRODUCTION)
    if serious := [message.msg for message in found if message.is_serious()]:
        raise ImproperlyConfigured("; ".join(serious))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two launchers on one DATA_DIR set it up one after the other."""
    with (settings.DATA_DIR / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def migrate() -> None:
    with _alone():
        call_command("migrate", verbosity=0, interactive=False)
    if connection.vendor == "sqlite":
        os.chmod(connection.settings_dict["NAME"], 0o600)


def first_people() -> Welcome | None:
    """The first admin and key, or None when somebody is here already."""
    with _alone(), transaction.atomic():
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
    with transaction.atomic():
        if Provider.objects.filter(slug=LOCAL, deleted_at=None).update(deleted_at=clock.now()):
            bump()


def a_model() -> str | None:
    """A text model to try first: the bundled one, else a cheap one of the pool."""
    offers = Offer.objects.filter(
        gone_at=None, provider__deleted_at=None, model__modality=Modality.TEXT
    ).order_by("model__credits_per_1k_output", "model__name")
    found = offers.filter(provider__slug=LOCAL).first() or offers.first()
    return found.model.name if found else None


def environment_providers() -> list[str]:
    """Add the providers whose `<SLUG>_API_KEY` is set; returns a line on each that is new."""
    lines = []
    for known in KNOWN:
        secret = env(f"{known.slug.upper()}_API_KEY").strip()
        if secret and (line := _add_known(known, secret)):
            lines.append(f"{known.slug}: {line}")
    return lines


def _add_known(known: Known, secret: str) -> str:
    url = env(f"{known.slug.upper()}_BASE_URL", known.base_url).rstrip("/")
    if _is_us(url):
        # Set for the SDK that calls us. As a provider we would call ourselves without end.
        return "its base URL is this site, so it is no provider"
    if _there(known.slug, secret, url):
        return ""
    try:
        added = add_provider(known.slug, known.kind, url, [secret])
    except Unknown as error:
        return str(error)
    notes = ", ".join(found.note for _, found in added.findings)
    return f"key …{secret[-4:]} {notes}; {added.models} models"


def _is_us(url: str) -> bool:
    """Whether a base URL leads back to this site."""
    there, site = urlsplit(url), urlsplit(settings.SITE_URL)
    ours = {settings.HOST, "127.0.0.1", "localhost", "::1"}
    try:
        near = there.hostname in ours and there.port == settings.PORT
    except ValueError:  # a port that is none leads nowhere
        return False
    return near or (there.scheme, there.netloc) == (site.scheme, site.netloc)


def _there(slug: str, secret: str, url: str) -> bool:
    return ProviderKey.objects.filter(
        provider__slug=slug,
        provider__base_url=url,
        provider__deleted_at=None,
        fingerprint=vault().fingerprint(secret),
        deleted_at=None,
    ).exists()
