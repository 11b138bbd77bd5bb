"""The control plane's JSON views for bearers of a key: keys, refusals and shapes are /v1's."""

import logging
from collections.abc import Iterable
from typing import Any, cast

from django.db import DatabaseError, connection
from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
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
from proxy.gateway.app import broken
from proxy.gateway.call import bad_key
from proxy.gateway.head import address_of
from proxy.gateway.journey import Caller
from proxy.gateway.plane import quota_unavailable
from quotas import report

log = logging.getLogger("bsod.api")


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


def handle_exception(error: Exception, context: dict[str, Any]) -> Response:
    """Every failure in the API's own shape; one that is no refusal is our fault, and logged."""
    if isinstance(error, DatabaseError):
        log.error("%s: the database is away", context["request"].path, exc_info=error)
        error = quota_unavailable()
    elif not isinstance(error, ApiError):
        log.error("%s failed", context["request"].path, exc_info=error)
        error = broken()
    return Response(error.body(), status=error.status, headers=error.headers())


class AlwaysJson(BaseContentNegotiation):
    """Whatever a client says it accepts: errors are JSON, and so is all the rest."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class KeyView(APIView):
    """A view for the bearer of an API key."""

    authentication_classes = [BearerAuthentication]
    content_negotiation_class = AlwaysJson

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """What an account has is nobody's to keep."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"
        return answer


class Balance(KeyView):
    """`GET /balance/`: what the key has left, as it is enforced."""

    permission = Permission.BALANCE

    def get(self, request: Request) -> Response:
        with connection.cursor() as cursor:
            bearer = cast(Bearer, request.user)
            return Response(report.balance(cursor, bearer.identity, clock.now()))
