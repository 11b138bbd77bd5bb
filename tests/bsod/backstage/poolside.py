"""What the tests of the pool's pages are written with: who is signed in, and pressing a button."""

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.test import Client

from tests import kit

KEYS, PROVIDERS = "/admin/proxy/providerkey/", "/admin/proxy/provider/"


def superuser() -> Client:
    account = kit.person("root").account
    account.is_staff = account.is_superuser = True
    account.save()
    return kit.staff_client(account)


def helper(*rights: str) -> Client:
    """A member of staff with just these rights."""
    account = kit.person("helper").account
    account.is_staff = True
    account.save()
    account.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return kit.staff_client(account)


def act(client: Client, place: str, action: str, *rows: Any, **more: str) -> str:
    """Run a list's action; what the next page will say of it."""
    chosen = {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}
    return said(client.post(place, chosen))


def said(answer: Any) -> str:
    assert answer.status_code == 302, answer.content.decode()
    return " ".join(map(str, get_messages(answer.wsgi_request)))
