"""The admin's site: Django's admin in unfold's look, behind our own sign-in, in English only.

Every page of it, and every route beside it, goes through `Backstage.admin_view`: it knows who may
enter (`signin.py`), and from where what is recorded in the audit log was asked for.
"""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.template.response import SimpleTemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import override
from unfold.sites import UnfoldAdminSite

from accounts.audit import asked_from
from bsod.backstage.signin import Standing, refusal, standing, turned_away
from bsod.throttle import address

MAY_NOT = "Your account may not do this: a permission is missing."
View = Callable[..., HttpResponseBase]


class Backstage(UnfoldAdminSite):  # type: ignore[misc]  # unfold has no types
    index_title = "Overview"
    enable_nav_sidebar = True

    def has_permission(self, request: HttpRequest) -> bool:
        return standing(request) is Standing.IN

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        return _around(super().admin_view(view, cacheable))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        # unfold would write the colours into the page; ours are in look/admin.css.
        return {**super().each_context(request), "colors": None}

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Nobody signs in here: whoever comes is sent to where he must go next."""
        found, back = standing(request), _back(request)
        if found is Standing.IN:
            return HttpResponseRedirect(back)
        return turned_away(request, found, back)

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseRedirect(reverse("account_logout"))
        get_adapter().logout(request)
        return HttpResponseRedirect(reverse("account_login"))

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("account_change_password"))

    def search(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        # unfold would look through every table, and keep what it finds in the store of counters.
        raise Http404


def _around(view: View) -> View:
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with asked_from(address(request)), override("en"):
            try:
                response = view(request, *args, **kwargs)
            except PermissionDenied:
                return refusal(request, 403, MAY_NOT)
            if isinstance(response, SimpleTemplateResponse):
                response.render()
            return response

    return update_wrapper(shown, view)


def _back(request: HttpRequest) -> str:
    """Where somebody wanted to go, if it is a page of the admin."""
    home = reverse("admin:index")
    asked = request.GET.get("next", "")
    ours = asked.startswith(home) and not asked.startswith(reverse("admin:login"))
    return asked if ours and url_has_allowed_host_and_scheme(asked, allowed_hosts=None) else home
