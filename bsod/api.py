"""The control plane's JSON views for bearers of a key: keys, refusals and shapes are /v1's."""

from typing import Any, cast

from django.db import DatabaseError, connection
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.keys import identity as identities
from accounts.keys.identity import Identity
from accounts.keys.tokens import parse
from bsod.lib import clock
from bsod.lib.terms import Permission
from proxy.errors import ApiError
from proxy.gateway.admission import authenticate
from proxy.gateway.call import address_of, bad_key
from proxy.gateway.journey import Caller
from proxy.gateway.plane import quota_unavailable
from quotas import report


class Bearer:
    """The `request.user` of an API call: a key, never a session."""

    is_authenticated = True

    def __init__(self, identity: Identity) -> None:
        self.identity = identity


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`, read afresh for every request."""

    def authenticate(self, request: Request) -> tuple[Bearer, None]:
        scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        token = parse(text.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            raise bad_key()
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1", "replace")
        caller = Caller(token, address_of(request.META.get("REMOTE_ADDR", ""), forwarded))
        now = clock.now()
        with connection.cursor() as cursor:
            found = identities.read(cursor, [token.public_id], now, lock=False)
        known = found.get(token.public_id)
        permission: Permission | None = getattr(request.parser_context["view"], "permission", None)
        return Bearer(authenticate(known, caller, permission, now)), None


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Refusals in the API's own shape; anything unknown is Django's 500."""
    if isinstance(error, DatabaseError):
        error = quota_unavailable()
    if isinstance(error, ApiError):
        return Response(error.body(), status=error.status, headers=error.headers())
    return None


class Balance(APIView):
    """`GET /balance/`: what the key has left, as it is enforced."""

    authentication_classes = [BearerAuthentication]
    permission = Permission.BALANCE

    def get(self, request: Request) -> Response:
        with connection.cursor() as cursor:
            bearer = cast(Bearer, request.user)
            return Response(report.balance(cursor, bearer.identity, clock.now()))
