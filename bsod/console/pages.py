"""What views of pages share: packing them, turning their pages, sending strangers to sign in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, cast
from urllib.parse import urlencode

import orjson
from django.http import (
    HttpRequest,
    HttpResponseBase,
    HttpResponseRedirect,
    JsonResponse,
    QueryDict,
)
from django.views.decorators.gzip import gzip_page

from accounts.models import Account
from bsod.console.errors import wants_json

View = Callable[..., HttpResponseBase]
# Django pads what it packs by chance, so that its size tells nobody what is in it.
packed_page = gzip_page
_MOST = 200_000  # bytes of JSON


def signed_in(view: View) -> View:
    """For people with a session: others sign in first, scripts are told."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if wants_json(request):
            said = {"message": "Sign in first.", "type": "authentication_error", "param": None,
                    "code": "not_signed_in"}  # fmt: skip
            return JsonResponse({"error": said}, status=401, headers={"Cache-Control": "no-store"})
        here = request.get_full_path() if request.method == "GET" else "/"
        return HttpResponseRedirect(f"/login/?{urlencode({'next': here})}")

    return checked


def owner(request: HttpRequest) -> Account:
    """Who asks, where `signed_in` has let nobody else through."""
    return cast(Account, request.user)


def sent(request: HttpRequest) -> Any:
    """The fields of a form, or a script's JSON object; None: neither."""
    if request.content_type != "application/json":
        return request.POST
    try:
        said = orjson.loads(request.body) if len(request.body) <= _MOST else None
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


@dataclass(frozen=True, slots=True)
class Leaf:
    """One page of many."""

    number: int
    size: int
    more: bool
    query: str
    """The rest of the query, to be kept when the page is turned."""

    @property
    def first(self) -> int:
        return (self.number - 1) * self.size + 1

    @property
    def earlier(self) -> str:
        return self._to(self.number - 1) if self.number > 1 else ""

    @property
    def later(self) -> str:
        return self._to(self.number + 1) if self.more else ""

    def _to(self, number: int) -> str:
        query = QueryDict(self.query, mutable=True)
        query["page"] = str(number)
        return f"?{query.urlencode()}"


def turned(request: HttpRequest, rows: Any, size: int) -> tuple[Sequence[Any], Leaf]:
    """The rows of the page asked for, of a list or a query: one more is read, none is counted."""
    text = request.GET.get("page", "1")
    number = max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 8 else 1
    start = (number - 1) * size
    found = list(rows[start : start + size + 1])
    query = request.GET.copy()
    query.pop("page", None)
    return found[:size], Leaf(number, size, len(found) > size, query.urlencode())


def link(request: HttpRequest, **changed: str) -> str:
    """This page with another choice; what is empty is left out."""
    query = request.GET.copy()
    query.pop("page", None)
    for name, value in changed.items():
        if value:
            query[name] = value
        else:
            query.pop(name, None)
    return f"?{query.urlencode()}" if query else request.path
