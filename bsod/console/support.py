"""The Support tab: keys of providers that people lend, and everything a donor does to his own.

    GET  /support/                  what donating is; a donor's donations, and the form
    GET  /support/<uid>/            one of them: its timeline, use and limits (JSON for a script)
    GET  /support/<uid>/withdraw/   asks once more
    POST /donate-key/               action = check (nothing is kept) or submit
    POST /donation-action/          action = change, pause, resume or withdraw, id = the donation's

Forms are answered with pages and redirects, JSON with JSON. A secret only goes in: no answer has
it, whatever went wrong. Another's donation is answered like one that does not exist.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from bsod.console import donated, giving
from bsod.console.errors import refuse, wants_json
from bsod.console.giving import DonateForm, LimitsForm
from bsod.console.pages import owner, packed_page, sent, signed_in, turned
from bsod.lib import clock
from proxy.donations import service
from proxy.donations.checking import Refused
from proxy.donations.models import Donation
from proxy.donations.standing import SUPPORTER

PAGE = 20
_PRIVATE = {"Cache-Control": "no-store"}
_STATUS = {"duplicate": 409, "ended": 409, "switched_off": 403, "banned": 403}


# ---- what is shown


@require_safe
@packed_page
def support(request: HttpRequest) -> HttpResponse:
    wish = {"provider": request.GET.get("provider", "")}
    return _page(request, DonateForm(auto_id=False, initial=wish))


def _page(request: HttpRequest, form: DonateForm, status: int = 200, **more: Any) -> HttpResponse:
    now, shown = clock.now(), dict(more)
    person = owner(request) if request.user.is_authenticated else None
    open_now = bool(settings.DONATIONS)
    if person:
        mine = Donation.objects.filter(donor=person).select_related("provider").order_by("-pk")
        found, shown["leaf"] = turned(request, mine, PAGE)
        shown["mine"] = donated.with_today(found, now)
    if person and open_now:
        form.providers = [provider.slug for provider in service.choices()]
        shown["form"] = form
    shown |= {"open": open_now, "gain": donated.gain(person, SUPPORTER, now)}
    return render(request, "console/support.html", shown, status=status)


@require_safe
@packed_page
@signed_in
def one(request: HttpRequest, uid: str) -> HttpResponse:
    donation = _mine(request, uid)
    if wants_json(request):
        return JsonResponse(donated.described(donation), headers=_PRIVATE)
    return _of(request, donation, None if donation.ended else giving.limits_of(donation))


def _of(
    request: HttpRequest, donation: Donation, form: LimitsForm | None, status: int = 200
) -> HttpResponse:
    month = donated.month(donation, clock.now())
    shown = {
        "donation": donation,
        "form": form,
        "timeline": donated.timeline(donation),
        "month": month,
        "meter": month.meter(donation.daily_cap) if month else None,
    }
    return render(request, "console/support_donation.html", shown, status=status)


@require_safe
@packed_page
@signed_in
def ask_again(request: HttpRequest, uid: str) -> HttpResponse:
    """The page before a withdrawal."""
    donation = _mine(request, uid)
    if donation.ended:
        return HttpResponseRedirect(_place(donation))
    return render(request, "console/support_withdraw.html", {"donation": donation})


# ---- what is done


@require_POST
@signed_in
def donate_key(request: HttpRequest) -> HttpResponse:
    return _answered(request, _GIVING, "submit", giving.GIFT)


@require_POST
@signed_in
def donation_action(request: HttpRequest) -> HttpResponse:
    return _answered(request, _ACTIONS, "", giving.LIMITS | {"id": str})


Act = Callable[[HttpRequest, Mapping[str, Any]], HttpResponse]


def _answered(
    request: HttpRequest, acts: Mapping[str, Act], usual: str, kinds: Mapping[str, type]
) -> HttpResponse:
    """What cannot be read is refused without a word of it: a secret may stand anywhere."""
    said = sent(request)
    if said is None:
        return refuse(request, 400, text="The body must be a JSON object.")
    name = said.get("action", usual)
    act = acts.get(name) if isinstance(name, str) else None
    if act is None:
        return refuse(
            request, 400, text=f"'action' must be one of: {', '.join(acts)}.", param="action"
        )
    if request.content_type == "application/json":
        try:
            said = giving.spoken({k: v for k, v in said.items() if k != "action"}, kinds)
        except ValueError as error:
            return _unreadable(request, str(error), kinds)
    return act(request, said)


def _unreadable(request: HttpRequest, name: str, kinds: Mapping[str, type]) -> HttpResponse:
    known = ", ".join(["action", *kinds])
    text = f"'{name}' cannot be that." if name else f"The fields are: {known}."
    return refuse(request, 400, text=text, param=name or None)


def _check(request: HttpRequest, said: Mapping[str, Any]) -> HttpResponse:
    form = DonateForm(said, auto_id=False)
    if not form.is_valid():
        return _wrong(request, form)
    checked = service.check(form.cleaned_data["provider"], form.cleaned_data["key"])
    if wants_json(request):
        body = {"object": "donation.check", "works": checked.works, "models": checked.models,
                "reason": checked.reason, "code": checked.code or None}  # fmt: skip
        return JsonResponse(body, headers=_PRIVATE)
    why = "" if checked.works else giving.words(checked.code, checked.reason)
    return _page(request, form, checked=checked, why=why)


def _submit(request: HttpRequest, said: Mapping[str, Any]) -> HttpResponse:
    form = DonateForm(said, auto_id=False)
    if not form.is_valid():
        return _wrong(request, form)
    fields = form.cleaned_data
    try:
        donation = service.submit(
            owner(request), fields["provider"], fields["key"], note=fields["note"],
            consent=fields["consent"], **form.limits,
        )  # fmt: skip
    except Refused as refused:
        return _refused(request, form, refused)
    if wants_json(request):
        return JsonResponse(donated.described(donation), status=201, headers=_PRIVATE)
    messages.success(request, _("Donated. It waits for an administrator."))
    return HttpResponseRedirect(_place(donation))


def _change(request: HttpRequest, said: Mapping[str, Any]) -> HttpResponse:
    donation = _named(request, said)
    if request.content_type == "application/json":
        said = giving.fields_of(donation) | dict(said)
    form = LimitsForm(said)
    if not form.is_valid():
        return _wrong(request, form, donation)
    try:
        service.change(donation, **form.limits)
    except Refused as refused:
        if refused.param:
            return _refused(request, form, refused, donation)
        return _stays(request, donation, refused)
    return _done(request, donation, _("Saved. It holds from the next call on."))


def _pause(request: HttpRequest, said: Mapping[str, Any]) -> HttpResponse:
    return _acted(request, said, service.pause, _("Paused. No new call is made with it."))


def _resume(request: HttpRequest, said: Mapping[str, Any]) -> HttpResponse:
    return _acted(request, said, service.resume, _("Resumed. It is in the pool again."))


def _withdraw(request: HttpRequest, said: Mapping[str, Any]) -> HttpResponse:
    return _acted(request, said, service.withdraw, _("Withdrawn. The key is wiped."))


_GIVING: dict[str, Act] = {"submit": _submit, "check": _check}
_ACTIONS: dict[str, Act] = {
    "change": _change, "pause": _pause, "resume": _resume, "withdraw": _withdraw,
}  # fmt: skip


# ---- the steps of it


def _mine(request: HttpRequest, uid: str) -> Donation:
    rows = Donation.objects.filter(donor=owner(request)).select_related("provider")
    donation = rows.filter(uid=uid).first() if len(uid) == 26 and uid.isascii() else None
    if donation is None:
        raise Http404
    return donation


def _named(request: HttpRequest, said: Mapping[str, Any]) -> Donation:
    return _mine(request, str(said.get("id") or ""))


def _place(donation: Donation) -> str:
    return f"/support/{donation.uid}/"


def _acted(
    request: HttpRequest, said: Mapping[str, Any], act: Callable[[Donation], Any], words: str
) -> HttpResponse:
    donation = _named(request, said)
    try:
        act(donation)
    except Refused as refused:
        return _stays(request, donation, refused)
    return _done(request, donation, words)


def _stays(request: HttpRequest, donation: Donation, why: Refused) -> HttpResponse:
    if wants_json(request):
        return _told(why)
    messages.error(request, giving.words(why.code, why.text))
    return HttpResponseRedirect(_place(donation))


def _done(request: HttpRequest, donation: Donation, words: str) -> HttpResponse:
    if wants_json(request):
        return JsonResponse(donated.described(donation), headers=_PRIVATE)
    messages.success(request, words)
    return HttpResponseRedirect(_place(donation))


def _refused(
    request: HttpRequest, form: LimitsForm, refused: Refused, donation: Donation | None = None
) -> HttpResponse:
    if wants_json(request):
        return _told(refused)
    form.refused(refused)
    return _wrong(request, form, donation)


def _told(refused: Refused) -> HttpResponse:
    """What the service refuses, for a script: its own words, and its code."""
    said = {"message": refused.text, "type": "invalid_request_error", "code": refused.code,
            "param": giving.field(refused.param)}  # fmt: skip
    status = _STATUS.get(refused.code, 400)
    return JsonResponse({"error": said}, status=status, headers=_PRIVATE)


def _wrong(
    request: HttpRequest, form: LimitsForm, donation: Donation | None = None
) -> HttpResponse:
    if wants_json(request):
        name, errors = next(iter(form.errors.items()))
        param = None if name == "__all__" else name
        return refuse(request, 400, text=" ".join(map(str, errors)), param=param)
    if donation is not None:
        return _of(request, donation, form, 400)
    assert isinstance(form, DonateForm), "the other has its donation"
    return _page(request, form, 400)
