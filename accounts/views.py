"""Pages of signing in and of one's account: allauth's views, and the few it has not.

Who may do what how often is in `bsod/console/doors.py`, by the names of the routes. What cannot be
undone, or would let somebody else in, asks for the password or a factor again first.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account import views as account
from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.email_verification import send_verification_email_at_login
from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.stagekit import unstash_login
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.views import ActivateTOTPView
from allauth.mfa.webauthn.internal import auth as passkeys
from allauth.mfa.webauthn.views import AddWebAuthnView
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import factors
from accounts.browsers import browser_of
from accounts.flows import prefer as preferences
from accounts.flows.sign_out import sessions_of, sign_out_one, sign_out_others
from accounts.models import FREE, Account, Plan

View = Callable[..., HttpResponseBase]


def person_of(request: HttpRequest) -> Account:
    """Whose session this is; the view is for those who are signed in."""
    assert isinstance(request.user, Account)
    return request.user


# ---- the way in


class SignIn(account.LoginView):  # type: ignore[misc]  # allauth has no types
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        more = {"passkeys": factors.passkeys_work(self.request)}
        return {**super().get_context_data(**kwargs), **more}


class Register(account.SignupView):  # type: ignore[misc]  # as above
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        more = {
            "gifts": gifts(),
            "terms_url": settings.TERMS_URL,
            "privacy_url": settings.PRIVACY_URL,
        }
        return {**super().get_context_data(**kwargs), **more}


def gifts() -> dict[str, int]:
    """What the free plan gives a day, by kind, for the page to promise."""
    caps = Plan.objects.values_list("caps", flat=True).get(pk=FREE)
    found: dict[str, int] = {}
    for bucket, cap in caps.items():
        kind = "video" if bucket.startswith("video.") else bucket.replace(".", "_")
        found[kind] = found.get(kind, 0) + cap
    return found


@require_GET
def name_free(request: HttpRequest) -> HttpResponse:
    """`GET /register/name/?username=…`: whether a name can be had, for the page to say at once."""
    said: dict[str, Any] = {"free": True, "text": _("available")}
    try:
        get_adapter().clean_username(request.GET.get("username", "")[:200])
    except ValidationError as error:
        said = {"free": False, "text": " ".join(error.messages)}
    return JsonResponse(said, headers={"Cache-Control": "no-store"})


@require_POST
def send_again(request: HttpRequest) -> HttpResponse:
    """The link once more. Answered alike for an address that was registered before."""
    login = unstash_login(request, peek=True)
    if login is None:
        return redirect("account_login")
    send_verification_email_at_login(request, login)
    messages.success(request, _("Sent once more."))
    return redirect("account_email_verification_sent")


class ResetFromLink(account.PasswordResetFromKeyView):  # type: ignore[misc]  # as above
    """A link that was used, is too old or somebody else's is a bad request."""

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        if context.get("token_fail"):
            kwargs["status"] = 400
        answer: HttpResponse = super().render_to_response(context, **kwargs)
        return answer


class ConfirmMail(account.ConfirmEmailView):  # type: ignore[misc]  # as above
    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        if not context.get("can_confirm"):
            kwargs["status"] = 400
        answer: HttpResponse = super().render_to_response(context, **kwargs)
        return answer

    def post(self, *args: Any, **kwargs: Any) -> HttpResponse:
        self.object = account.get_emailconfirmation_model().from_key(kwargs["key"])
        if self.object is None:
            return self.render_to_response(self.get_context_data())
        answer: HttpResponse = super().post(*args, **kwargs)
        return answer


# ---- one's account


@login_required
@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    person = person_of(request)
    kinds = list(Authenticator.objects.filter(user=person).values_list("type", flat=True))
    mails = list(EmailAddress.objects.filter(user=person))
    shown = {
        "mail": next((row.email for row in mails if row.primary), person.email),
        "coming": next((row.email for row in mails if not row.verified and not row.primary), ""),
        "passkey_count": kinds.count(Authenticator.Type.WEBAUTHN),
        "app": Authenticator.Type.TOTP in kinds,
        "codes": Authenticator.Type.RECOVERY_CODES in kinds,
        "session_count": len(sessions_of(person)),
        "has_password": person.has_usable_password(),
        "choices": preferences.THEMES,
    }
    return render(request, "account/overview.html", shown)


@login_required
@require_http_methods(["GET", "POST"])
def sessions(request: HttpRequest) -> HttpResponse:
    """Where one is signed in; POST `session=<number>` ends one, `others` all but this."""
    person = person_of(request)
    if request.method == "POST":
        _end(request, person)
        return redirect("usersessions_list")
    shown = sessions_of(person)
    for row in shown:
        row.browser = browser_of(row.user_agent)
    here = request.session.session_key
    return render(request, "usersessions/usersession_list.html", {"sessions": shown, "here": here})


def _end(request: HttpRequest, person: Account) -> None:
    number = request.POST.get("session", "")
    if "others" in request.POST:
        sign_out_others(person, keep=request.session.session_key)
        messages.success(request, _("Signed out everywhere else."))
    elif number.isdecimal() and len(number) < 19 and sign_out_one(person, int(number)):
        messages.success(request, _("That session has ended."))
    else:
        messages.error(request, _("There is no such session any more."))


class Shown:
    """Whoever sets a factor up has shown it in this session: staff need not do it once more."""

    request: HttpRequest
    factor: str

    def form_valid(self, form: Any) -> HttpResponse:
        answer: HttpResponse = super().form_valid(form)  # type: ignore[misc]  # of the view beside it
        record_authentication(self.request, person_of(self.request), method="mfa", type=self.factor)
        return answer


class AddApp(Shown, ActivateTOTPView):  # type: ignore[misc]  # as above
    factor = Authenticator.Type.TOTP


class AddPasskey(Shown, AddWebAuthnView):  # type: ignore[misc]  # as above
    """A passkey that signs in alone: kept by the device, opened by its owner."""

    factor = Authenticator.Type.WEBAUTHN

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super(AddWebAuthnView, self).get_context_data(**kwargs)
        works = factors.passkeys_work(self.request)
        options = passkeys.begin_registration(self.request.user, True) if works else None
        return {**shown, "passkeys": works, "js_data": {"creation_options": options}}


_PREFERRED = ("language", "theme", "donation_notices")


@require_POST
def prefer(request: HttpRequest) -> HttpResponse:
    """`POST /preferences/`: language and theme, of an account or of this browser alone; and
    `donation_notices=on` or `off` of an account."""
    then = request.POST.get("next", "")
    answer = redirect(then if get_adapter().is_safe_url(then) else "/")
    person = request.user if isinstance(request.user, Account) else None
    said = {name: request.POST.get(name, "") for name in _PREFERRED}
    preferences.prefer(person, answer, **said)
    return answer


def again_first(view: View) -> View:
    """Ask for the password or a factor first, unless that was done a moment ago."""
    from allauth.account.decorators import reauthentication_required

    @wraps(view)
    def asked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        guarded: View = reauthentication_required(view, app="allauth.account")
        return guarded(request, *args, **kwargs)

    return login_required(asked)
