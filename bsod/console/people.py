"""`/account/export/` and `/account/delete/`: the two that concern every part of an account."""

from typing import Any

from django import forms
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from accounts.flows.close_account import LastAdmin, may_close
from accounts.forms import dress, plain
from accounts.models import Account
from accounts.views import again_first, person_of
from bsod.console import export as exports
from bsod.console.leaving import leave
from bsod.lib import clock


class Leave(forms.Form):
    """Nobody deletes an account by a slip: its name is typed."""

    username = forms.CharField()

    def __init__(self, *args: Any, person: Account, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.person = person
        attrs = plain({"autocomplete": "off", "maxlength": 150})
        dress(self.fields["username"], _("Type your username to delete the account"), **attrs)

    def clean_username(self) -> str:
        name: str = self.cleaned_data["username"]
        if name != self.person.username:
            raise forms.ValidationError(_("This is not your username."))
        return name

    def clean(self) -> dict[str, Any]:
        try:
            may_close(self.person)
        except LastAdmin:
            raise forms.ValidationError(
                _("You are the only administrator. Make somebody else one first.")
            ) from None
        return super().clean() or {}


@again_first
@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest) -> HttpResponse:
    person = person_of(request)
    form = Leave(request.POST if request.method == "POST" else None, person=person)
    if request.method == "POST" and form.is_valid():
        leave(person)
        logout(request)
        return redirect("account_gone")
    status = 400 if form.errors else 200
    return render(request, "account/delete.html", {"form": form}, status=status)


@again_first
@require_http_methods(["GET", "POST"])
def export(request: HttpRequest) -> HttpResponseBase:
    """The page that says what is in it, and, asked by its button, the file."""
    if request.method != "POST":
        return render(request, "account/export.html")
    name = f"bsod-{clock.day_of(clock.now())}.json"
    return StreamingHttpResponse(
        exports.export(person_of(request)),
        content_type="application/json",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
        },
    )
