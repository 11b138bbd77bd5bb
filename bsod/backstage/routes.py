"""The admin's routes for scripts and buttons: what `POST /admin/…/` may be told, and the answers.

A topic's routes stand in `routes_<topic>.py`: a table of acts, each with the permission it needs,
the fields it knows and the function of a service that does it. This module is what they share: who
may come in (the same door as the pages), reading JSON or a form, refusing what it does not know,
and doing an act as a whole or not at all.

    users = acts("admin:accounts_account_changelist", {
        "ban": Act("accounts.add_ban", ("user", "users", "reason", "until"), ban_them),
    })

`ban_them(request, asked)` gives what JSON shall say; its `message` is what a person reads.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import orjson
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse

from accounts.audit import LONGEST_REASON
from accounts.models import Account
from bsod.backstage.signin import Standing, refusal, standing, turned_away
from bsod.console.errors import wants_json

Asked = dict[str, Any]


class Refused(Exception):
    """Nothing was done, and this is why. `param`: the field that is wrong."""

    def __init__(self, text: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(text)
        self.text, self.param, self.status = text, param, status


@dataclass(frozen=True, slots=True)
class Act:
    permission: str | tuple[str, ...]
    fields: tuple[str, ...]
    do: Callable[[HttpRequest, Asked], Mapping[str, Any]]
    whole: bool = True
    """In one transaction. Not where providers are asked meanwhile."""


def acts(back: str, known: Mapping[str, Act], only: str = "") -> Callable[..., HttpResponse]:
    """A view over a table of acts. `back`: the list a browser returns to; `only`: the act of a
    route that has but one, which need not be named."""

    def view(request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            refused = refusal(request, 405, "Send POST.")
            refused["Allow"] = "POST"
            return refused
        try:
            return _done(request, back, *_run(request, known, only))
        except Refused as why:
            return refusal(request, why.status, why.text, why.param)
        except ValidationError as why:
            return refusal(request, 400, " ".join(why.messages), _param(why))

    shown: Callable[..., HttpResponse] = admin.site.admin_view(view)

    def door(request: HttpRequest) -> HttpResponse:
        # Before Django's own look: a script is told in JSON, and nobody comes back to a POST.
        found = standing(request)
        if found is Standing.IN:
            return shown(request)
        return turned_away(request, found, reverse(back))

    return door


def _run(
    request: HttpRequest, known: Mapping[str, Act], only: str
) -> tuple[str, Mapping[str, Any]]:
    asked = _read(request)
    name = asked.pop("action", only)
    act = known.get(name) if isinstance(name, str) else None
    if act is None:
        raise Refused(f"action must be one of: {', '.join(known)}.", param="action")
    wrong = [field for field in asked if field not in act.fields]
    if wrong:
        fields = ", ".join(("action", *act.fields))
        raise Refused(f"{wrong[0][:60]} is no field of {name}. Fields: {fields}.", param=wrong[0])
    needed = (act.permission,) if isinstance(act.permission, str) else act.permission
    lacking = [one for one in needed if not actor(request).has_perm(one)]
    if lacking:
        raise Refused(f"This needs the permission {lacking[0]}.", status=403)
    with transaction.atomic() if act.whole else nullcontext():
        return str(name), act.do(request, asked)


def _done(request: HttpRequest, back: str, name: str, result: Mapping[str, Any]) -> HttpResponse:
    if wants_json(request):
        said = {"object": "admin.act", "action": name, **result}
        return JsonResponse(said, headers={"Cache-Control": "no-store"})
    messages.success(request, str(result.get("message", "Done.")))
    return HttpResponseRedirect(reverse(back))


def _read(request: HttpRequest) -> Asked:
    if request.content_type != "application/json":
        form = {name: request.POST.getlist(name) for name in request.POST}
        form.pop("csrfmiddlewaretoken", None)
        return {name: values if len(values) > 1 else values[0] for name, values in form.items()}
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise Refused("The body is no JSON.") from None
    if not isinstance(body, dict):
        raise Refused("The body must be a JSON object.")
    return body


def _param(why: ValidationError) -> str | None:
    return next(iter(why.message_dict)) if hasattr(why, "error_dict") else None


# ---- what the functions of a table read with


def actor(request: HttpRequest) -> Account:
    person = request.user
    assert isinstance(person, Account)  # standing() has seen to it
    return person


def text(asked: Asked, name: str, most: int = LONGEST_REASON, *, needed: bool = False) -> str:
    """A text field; Refused where it is none, too long, or needed and empty."""
    value = asked.get(name)
    if value is None:
        value = ""
    if not isinstance(value, str) or len(value) > most or not _writable(value):
        raise Refused(f"{name} must be a text of at most {most} characters.", param=name)
    if needed and not value.strip():
        raise Refused(f"{name} is needed.", param=name)
    return value.strip()


def _writable(value: str) -> bool:
    """Databases take no NUL, and UTF-8 has no half of a pair."""
    return "\0" not in value and not any("\ud800" <= one <= "\udfff" for one in value)


def reason(asked: Asked) -> str:
    """Why it is done: kept in the audit log, and never empty."""
    return text(asked, "reason", needed=True)


def several(asked: Asked, *names: str, most: int = 1000) -> list[str]:
    """Whom or what it is done to: one, or a list, under any of these names; never none."""
    found: list[str] = []
    for name in names:
        value = asked.get(name)
        many = value if isinstance(value, list) else [] if value in (None, "") else [value]
        for one in many:
            good = isinstance(one, str | int) and not isinstance(one, bool)
            if not good or not _writable(str(one)):
                raise Refused(f"{name} must be an id or a list of them.", param=name)
            found.append(str(one))
    if not found or len(found) > most:
        raise Refused(f"{names[0]} must name 1 to {most}.", param=names[0])
    return list(dict.fromkeys(found))
