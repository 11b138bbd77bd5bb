"""The admin's sign-in, with guessing made slow: by name and by address.

Closed when the counters are away: a sign-in that nobody counts would be a free guess.
"""

import ipaddress
import unicodedata
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.generic import View
from django_ratelimit.core import is_ratelimited

from bsod.lib.counters import STORE_AWAY
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


def name_tried(group: str, request: HttpRequest) -> str:
    """The name as the sign-in form reads it: every other spelling of it counts as the same."""
    return unicodedata.normalize("NFKC", request.POST.get("username", "")).strip().casefold()


RATES = ((name_tried, "5/m"), ("ip", "20/m"))


class AdminLogin(View):
    """`/admin/login/`: Django's own view behind a counter of tries."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            tries = [
                is_ratelimited(
                    request, group="admin-login", key=key, rate=rate, method="POST", increment=True
                )
                for key, rate in RATES
            ]
        except STORE_AWAY:
            return refusal(503, "Signing in is not possible just now.", 10)
        if any(tries):
            return refusal(429, "Too many tries. Next one in 60 s.", 60)
        return admin.site.login(request)


def refusal(status: int, text: str, wait: int) -> HttpResponse:
    headers = {"Retry-After": str(wait), "Cache-Control": "no-store"}
    return HttpResponse(text, status=status, content_type="text/plain", headers=headers)
