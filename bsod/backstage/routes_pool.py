"""`POST /admin/recheck-keys/`: ask provider keys how they are.

`{"keys": [id, …]}`, or `{"provider": "name"}`, or `{"provider": "all"}`. A few are asked while the
caller waits and the answers told; of many the number that is scheduled (`proxy/rechecks.py`).
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from bsod.backstage.pool.base import answers
from bsod.backstage.routes import Act, Asked, Refused, actor, acts, several, text
from proxy import rechecks
from proxy.models import Provider, ProviderKey

MOST = 1000


def _recheck(request: HttpRequest, asked: Asked) -> Mapping[str, Any]:
    found = rechecks.recheck(_named(asked), actor(request))
    told, _ = answers(found)
    return {
        "message": told,
        "probed": [
            {
                "key": key.pk,
                "provider": key.provider.slug,
                "last4": key.last4,
                "works": result.works,
                "said": result.note,
            }
            for key, result in found.found
        ],
        "scheduled": found.scheduled,
        "waiting": found.waiting,
    }


def _named(asked: Asked) -> list[int]:
    """The keys that are meant; all of those that are named, or Refused."""
    living = ProviderKey.objects.filter(deleted_at=None, provider__deleted_at=None)
    if ("provider" in asked) == ("keys" in asked):
        raise Refused("Name either keys or a provider.", param="keys")
    if "provider" in asked:
        slug = text(asked, "provider", needed=True)
        if slug != "all":
            if not Provider.objects.filter(slug=slug, deleted_at=None).exists():
                raise Refused(f"There is no provider {slug}.", param="provider", status=404)
            living = living.filter(provider__slug=slug)
        return list(living.values_list("pk", flat=True))
    wanted = several(asked, "keys", most=MOST)
    numbers = [int(one) for one in wanted if one.isascii() and one.isdecimal() and len(one) < 19]
    known = list(living.filter(pk__in=numbers).values_list("pk", flat=True))
    if len(known) < len(wanted):
        lacking = next(one for one in wanted if one not in {str(pk) for pk in known})
        raise Refused(f"There is no key {lacking[:20]}.", param="keys", status=404)
    return known


recheck_keys = acts(
    "admin:proxy_providerkey_changelist",
    {"recheck": Act("proxy.change_providerkey", ("keys", "provider"), _recheck, whole=False)},
    only="recheck",
)
