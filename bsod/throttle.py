"""From where somebody comes, as everything that counts tries asks it."""

import ipaddress

from django.http import HttpRequest

from proxy.gateway.head import address_of


def address(request: HttpRequest) -> str:
    """Who asks, behind as many proxies as are trusted (the setting RATELIMIT_IP_META_KEY)."""
    peer = request.META.get("REMOTE_ADDR") or "0.0.0.0"
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1", "replace")
    claimed = address_of(peer, forwarded)
    try:
        return str(ipaddress.ip_address(claimed))
    except ValueError:
        return peer
