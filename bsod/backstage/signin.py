"""Who stands before the admin's door, and where he is sent who may not pass yet.

Signing in is the console's, which counts tries and asks for the second factor where there is one.
Here a staff member must have one, and this very session must have shown it: a session from before
it was set up is as good as its password alone. An API key is no session and never gets this far.
"""

from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext

from accounts.models import Account
from bsod.console.errors import wants_json


class Standing(StrEnum):
    STRANGER = "Sign in first."
    NO_STAFF = "This account has no rights in the admin."
    NO_FACTOR = "Staff need a second factor: set one up under /account/security/ first."
    UNPROVEN = "Staff show their second factor: sign in with it first."
    IN = ""


def standing(request: HttpRequest) -> Standing:
    """Found once a request, however often it is asked."""
    kept = request.__dict__
    if "standing" not in kept:
        kept["standing"] = _standing(request)
    found: Standing = kept["standing"]
    return found


def _standing(request: HttpRequest) -> Standing:
    person = request.user
    if not isinstance(person, Account) or not person.is_active:
        return Standing.STRANGER
    if not person.is_staff:
        return Standing.NO_STAFF
    if not settings.STAFF_SECOND_FACTOR:
        return Standing.IN
    if not is_mfa_enabled(person):
        return Standing.NO_FACTOR
    return Standing.IN if _shown(request, person) else Standing.UNPROVEN


def _shown(request: HttpRequest, person: Account) -> bool:
    records: list[dict[str, Any]] = get_authentication_records(request, person)
    return any(record.get("method") == "mfa" for record in records)


def turned_away(request: HttpRequest, found: Standing, back: str) -> HttpResponse:
    """The answer to somebody who is not `IN`. `back`: where he wanted to go."""
    if wants_json(request):
        status = 401 if found is Standing.STRANGER else 403
        return refusal(request, status, found.value)
    if found is Standing.NO_STAFF:
        return refusal(request, 403, found.value)
    if found is Standing.NO_FACTOR:
        messages.warning(
            request,
            gettext(
                "The admin asks for a second factor. Set one up here, then open /admin/ again."
            ),
        )
        return HttpResponseRedirect(reverse("mfa_index"))
    if found is Standing.UNPROVEN:
        messages.info(request, gettext("The admin asks for your second factor."))
        return _to("mfa_reauthenticate", back)
    return _to("account_login", back)


def _to(name: str, back: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(f"{reverse(name)}?{urlencode({'next': back})}")


_CODES = {400: "invalid_request", 401: "not_signed_in", 403: "permission_denied", 404: "not_found",
          405: "method_not_allowed", 409: "conflict"}  # fmt: skip
_TYPES = {401: "authentication_error", 403: "permission_error"}


def refusal(request: HttpRequest, status: int, text: str, param: str | None = None) -> HttpResponse:
    """Why nothing was done, in JSON for a script and on a page for a person."""
    if wants_json(request):
        said = {"message": text, "type": _TYPES.get(status, "invalid_request_error"),
                "param": param, "code": _CODES.get(status, "invalid_request")}  # fmt: skip
        answer: HttpResponse = JsonResponse({"error": said}, status=status)
    else:
        context = {**admin.site.each_context(request), "text": text}
        answer = render(request, "admin/refused.html", context, status=status)
    answer["Cache-Control"] = "no-store"
    return answer
