"""The Access tab: an account's keys, and everything its owner does to them.

    GET  /access/                the keys, a page at a time; ?key= opens one of them
    GET  /access/new/            the form of a new key; /access/<id>/ the form of one there is
    POST /create-key/            a form (then a redirect), or JSON (then JSON)
    POST /key-action/            the same: action = change, rotate or revoke, id = the key's

A new secret is shown once: a script has it in its answer, a browser on the next page. Between the
two it lies sealed in the session. Another's key is answered like one that does not exist.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
)
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.keys import service
from accounts.keys.models import ApiKey
from bsod.console import keyrows, samples, secret
from bsod.console.errors import limited, refuse, wants_json
from bsod.console.forms import KeyForm, blank, fields_of, filled, spoken
from bsod.console.home import near_its_cap
from bsod.console.pages import owner, packed_page, sent, signed_in, turned
from bsod.console.quota import LOOKS
from bsod.lib import clock
from promos.service import history

PAGE = 50
SHOWN = 5  # promo codes redeemed lately
GRACES = (0, 1, 24, 168)  # hours


# ---- what is shown


@require_safe
@packed_page
@signed_in
def access(request: HttpRequest) -> HttpResponse:
    now = clock.now()
    gone = request.GET.get("show") == "revoked"
    mine = service.keys_of(owner(request)).filter(revoked_at__isnull=not gone)
    keys, leaf = turned(request, mine.order_by("-created_at", "-pk"), PAGE)
    opened = _mine(request, request.GET["key"]) if request.GET.get("key") else None
    if opened and opened.pk not in {key.pk for key in keys}:
        keys = [opened, *keys]
    fresh = secret.taken(request)
    base = request.build_absolute_uri("/").rstrip("/")
    return render(request, "console/access.html", {
        "rows": keyrows.rows_of(owner(request), keys, now),
        "leaf": leaf,
        "gone": gone,
        "opened": opened,
        "month": keyrows.month(opened, now) if opened else None,
        "graces": GRACES,
        "form": blank(),
        "near": near_its_cap(owner(request), clock.day_of(now)),
        "fresh": fresh,
        "redeemed": [
            (one.code.last4, bucket, LOOKS[bucket], amount)
            for one in history(owner(request), SHOWN)
            for bucket, amount in one.granted.items()
        ],
        "curl": samples.quick_start(base, "gpt-5.4", fresh.text)[0][2] if fresh else "",
        "base": base,
        "now": now,
    })  # fmt: skip


@require_safe
@packed_page
@signed_in
def new(request: HttpRequest) -> HttpResponse:
    return render(request, "console/key_form.html", {"form": blank()})


@require_safe
@packed_page
@signed_in
def edit(request: HttpRequest, number: int) -> HttpResponse:
    key = _mine(request, str(number))
    return render(request, "console/key_form.html", {"form": filled(key), "key": key})


# ---- what is done


@require_POST
@signed_in
@limited("create-key", "30/m", 60)
def create_key(request: HttpRequest) -> HttpResponse:
    return _answered(request, _create, None)


@require_POST
@signed_in
@limited("key-action", "60/m", 60)
def key_action(request: HttpRequest) -> HttpResponse:
    said = sent(request)
    if said is None:
        return refuse(request, 400, text="The body must be a JSON object.")
    act = _ACTIONS.get(str(said.get("action")))
    if act is None:
        known = ", ".join(_ACTIONS)
        return refuse(request, 400, text=f"'action' must be one of: {known}.", param="action")
    key = _mine(request, str(said.get("id", "")))
    return _answered(request, act, key)


Act = Callable[[HttpRequest, Any, ApiKey | None], HttpResponse]


def _answered(request: HttpRequest, act: Act, key: ApiKey | None) -> HttpResponse:
    """What is wrong with what was said is told in the way it was said."""
    said = sent(request)
    if said is None:
        return refuse(request, 400, text="The body must be a JSON object.")
    try:
        return act(request, said, key)
    except ValidationError as error:
        if wants_json(request):
            return refuse(request, 400, text=" ".join(error.messages))
        messages.error(request, " ".join(error.messages))
        return HttpResponseRedirect("/access/")
    except ValueError as error:
        name = str(error)
        text = f"'{name}' cannot be that." if name else "The body must be a JSON object."
        return refuse(request, 400, text=text, param=name or None)


def _create(request: HttpRequest, said: Any, _key: ApiKey | None) -> HttpResponse:
    script = request.content_type == "application/json"
    form = KeyForm(spoken(said) if script else said)
    if not _holds(form, lambda said: service.create_key(owner(request), **said)):
        return _wrong(request, form, None)
    return _shown_once(request, *form.made)


def _change(request: HttpRequest, said: Any, key: ApiKey | None) -> HttpResponse:
    assert key is not None, "the action names one"
    if request.content_type == "application/json":
        more = {name: value for name, value in said.items() if name not in ("action", "id")}
        said = spoken(more, fields_of(key))
    form = KeyForm(said, ends=key.expires_at)
    if not _holds(form, lambda said: service.change(key, **said)):
        return _wrong(request, form, key)
    if wants_json(request):
        return JsonResponse(described(form.made), headers={"Cache-Control": "no-store"})
    messages.success(request, _("Saved. It holds from the next request on."))
    return HttpResponseRedirect(f"/access/?key={key.pk}#key-{key.pk}")


def _rotate(request: HttpRequest, said: Any, key: ApiKey | None) -> HttpResponse:
    assert key is not None, "the action names one"
    hours = said.get("grace_hours", 0)
    if isinstance(hours, str) and hours.isascii() and hours.isdecimal() and len(hours) < 6:
        hours = int(hours)
    if type(hours) is not int or not 0 <= hours <= service.LONGEST_GRACE.days * 24:
        raise ValueError("grace_hours")
    return _shown_once(request, *service.rotate(key, timedelta(hours=hours)))


def _revoke(request: HttpRequest, said: Any, key: ApiKey | None) -> HttpResponse:
    assert key is not None, "the action names one"
    service.revoke(key)
    if wants_json(request):
        key.refresh_from_db()
        return JsonResponse(described(key), headers={"Cache-Control": "no-store"})
    messages.success(request, _("Revoked. Its next request gets 401."))
    return HttpResponseRedirect("/access/")


_ACTIONS: dict[str, Act] = {"change": _change, "rotate": _rotate, "revoke": _revoke}


# ---- the steps of it


def _asked(request: HttpRequest, number: str | None) -> ApiKey | None:
    if not number or not number.isascii() or not number.isdecimal() or len(number) > 18:
        return None
    return service.keys_of(owner(request)).filter(pk=int(number)).first()


def _mine(request: HttpRequest, number: str) -> ApiKey:
    key = _asked(request, number)
    if key is None:
        raise Http404
    return key


def _holds(form: KeyForm, act: Callable[[dict[str, Any]], Any]) -> bool:
    """Whether the form holds, and the service takes it; what it refuses stands in the form."""
    if not form.is_valid():
        return False
    try:
        form.made = act(form.said())
    except ValidationError as error:
        fields = error.error_dict if hasattr(error, "error_dict") else {None: error.error_list}
        for name, errors in fields.items():
            # A complaint that names no field may be known by its code.
            places = [name, *(error.code for error in errors)]
            form.add_error(next((one for one in places if one in form.fields), None), errors)
        return False
    return True


def _wrong(request: HttpRequest, form: KeyForm, key: ApiKey | None) -> HttpResponse:
    if wants_json(request):
        name, errors = next(iter(form.errors.items()))
        param = "caps" if name.startswith("cap:") else None if name == "__all__" else name
        return refuse(request, 400, text=" ".join(map(str, errors)), param=param)
    return render(request, "console/key_form.html", {"form": form, "key": key}, status=400)


def _shown_once(request: HttpRequest, key: ApiKey, text: str) -> HttpResponse:
    if wants_json(request):
        said = described(key) | {"key": text}
        return JsonResponse(said, status=201, headers={"Cache-Control": "no-store"})
    secret.keep(request, key, text)
    return HttpResponseRedirect("/access/")


def described(key: ApiKey) -> dict[str, Any]:
    """A key as a script is told it: everything but its secret."""
    plain = ("id", "name", "permissions", "caps", "requests_per_minute", "open_calls",
             "allowed_models", "networks", "created_at", "expires_at", "revoked_at",
             "last_used_at")  # fmt: skip
    said = {name: getattr(key, name) for name in plain}
    return {"object": "api_key", **said, "public_id": key.public_id, "last4": key.last4}
