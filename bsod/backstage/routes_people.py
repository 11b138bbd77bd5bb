"""`POST /admin/users/`, `POST /admin/ban-unlock/`, and the page that asks before an act.

The page is where buttons and bulk actions lead; it asks what a script says in its body, in the same
form, and does it by the same function (`acts.perform`).
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from accounts.models import Account, Ban
from bsod.backstage import routes
from bsod.backstage.acts import ACTS, MOST_ACCOUNTS, Act, Asked, may, perform
from bsod.backstage.routes import Refused, actor, several

_LIST = "admin:accounts_account_changelist"


# ---- for scripts


def _users(request: HttpRequest, asked: routes.Asked, name: str) -> Mapping[str, Any]:
    chosen = named(several(asked, "users", "user", most=MOST_ACCOUNTS))
    return _act(request, name, chosen, asked)


def _unlock(request: HttpRequest, asked: routes.Asked) -> Mapping[str, Any]:
    """By the account or by the ban: whoever is unlocked is free of all of them."""
    chosen: list[int] = []
    if asked.get("user") or asked.get("users"):
        chosen = named(several(asked, "users", "user", most=MOST_ACCOUNTS))
    if not chosen or asked.get("ban"):
        chosen = [*chosen, *_of_bans(several(asked, "ban", most=MOST_ACCOUNTS))]
    return _act(request, "unban", chosen, asked)


def _of_bans(ids: Collection[str]) -> list[int]:
    numbers = {one: int(one) for one in ids if _is_id(one) and one[0] != "#"}
    rows = dict(Ban.objects.filter(pk__in=numbers.values()).values_list("pk", "account"))
    unknown = [one for one in ids if numbers.get(one) not in rows]
    if unknown:
        raise Refused(f"There is no ban {unknown[0][:60]}.", param="ban", status=404)
    return list(dict.fromkeys(rows.values()))


def _act(
    request: HttpRequest, name: str, accounts: Collection[int], asked: routes.Asked
) -> Mapping[str, Any]:
    act = ACTS[name]
    said = {field: asked.get(field) for field in act.form.base_fields}
    wrong = [field for field, value in said.items() if isinstance(value, bool | list | dict)]
    if wrong:
        raise Refused(f"{wrong[0]} must be a text or a number.", param=wrong[0])
    # As a page's boxes have it: a form's fields read texts.
    form = act.form({field: None if value is None else str(value) for field, value in said.items()})
    if not form.is_valid():
        field, texts = next(iter(form.errors.items()))
        raise Refused(f"{field}: {' '.join(map(str, texts))}", param=field)
    rows = perform(actor(request), name, accounts, form.cleaned_data)
    users = [{"id": row.pk, "username": row.username} for row in rows]
    return {"users": users, "message": _told(act, rows)}


def named(names: Collection[str]) -> list[int]:
    """The ids of accounts that are named by username, or by id as `57` or `#57`. Refused: there is
    none such, or a username is somebody else's id."""
    ids = {name: int(name.lstrip("#")) for name in names if _is_id(name)}
    by_name = dict(Account.objects.filter(username__in=names).values_list("username", "pk"))
    by_id = set(Account.objects.filter(pk__in=ids.values()).values_list("pk", flat=True))
    found = []
    for name in names:
        both = {by_name.get(name), ids.get(name) if ids.get(name) in by_id else None} - {None}
        if len(both) != 1:
            what = "is a name and another's id: give the id as #id" if both else "is no user"
            raise Refused(f"{name[:60]} {what}.", param="users", status=409 if both else 404)
        found.append(both.pop())
    return [pk for pk in dict.fromkeys(found) if pk is not None]


def _is_id(name: str) -> bool:
    digits = name.removeprefix("#")
    return digits.isascii() and digits.isdecimal() and len(digits) < 19


def _told(act: Act, rows: Collection[Account]) -> str:
    who = str(next(iter(rows))) if len(rows) == 1 else f"{len(rows)} users"
    return f"{who}: {act.done}."


def _fields(form: type[Asked], *more: str) -> tuple[str, ...]:
    return (*more, *form.base_fields)


users = routes.acts(
    _LIST,
    {
        name: routes.Act(
            act.permission, _fields(act.form, "user", "users"), partial(_users, name=name),
            whole=False,
        )
        for name, act in ACTS.items()
    },
)  # fmt: skip
ban_unlock = routes.acts(
    _LIST,
    {
        "unban": routes.Act(
            ACTS["unban"].permission, ("user", "users", "ban", "reason"), _unlock, whole=False
        )
    },
    only="unban",
)


# ---- for people


def ask(request: HttpRequest, name: str, page: Any) -> HttpResponse:
    """What is about to be done, to whom, and why."""
    act = ACTS.get(name)
    if act is None:
        raise Http404
    if not may(actor(request), act):
        raise PermissionDenied
    rows = _chosen(request)
    if not rows:
        messages.error(request, f"Choose 1 to {MOST_ACCOUNTS} users.")
        return HttpResponseRedirect(reverse(_LIST))
    form = act.form(request.POST if request.method == "POST" else None, initial=_now(rows))
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                done = perform(actor(request), name, [row.pk for row in rows], form.cleaned_data)
            except Refused as why:
                form.add_error(None, why.text)
                status = why.status
            else:
                messages.success(request, _told(act, done))
                return HttpResponseRedirect(_back(rows))
    context = {
        **page.admin_site.each_context(request), "opts": page.opts, "title": act.label,
        "act": act, "accounts": rows, "form": form, "back": _back(rows), "media": form.media,
    }  # fmt: skip
    return render(request, "admin/people/act.html", context, status=status)


def _chosen(request: HttpRequest) -> list[Account]:
    ids = request.GET.get("users", "").split(",")
    if len(ids) > MOST_ACCOUNTS or not all(_is_id(one) for one in ids):
        return []
    return list(Account.objects.filter(pk__in=[int(one) for one in ids]).order_by("pk"))


def _now(rows: list[Account]) -> dict[str, Any]:
    """What holds, where it is about one."""
    if len(rows) > 1:
        return {}
    return {"plan": rows[0].plan_id, "bucket": "text.base"}


def _back(rows: list[Account]) -> str:
    if len(rows) == 1:
        return reverse("admin:accounts_account_change", args=[rows[0].pk])
    return reverse(_LIST)
