"""What every form's request passes: a token, a count, and no ban."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import URLPattern, get_resolver, resolve, reverse

from bsod.console.doors import ASKED, LIMITS, Doors, next_try
from tests import kit
from tests.accounts.door import Visitor, member
from tests.kit import Site

pytestmark = pytest.mark.once  # about requests and counters, not about the database
# Pages that take no form.
SHOWN = {"account", "account_email_verification_sent", "account_gone", "account_inactive",
         "account_name_free", "account_reset_password_done",
         "account_reset_password_from_key_done", "mfa_index", "mfa_list_webauthn",
         "mfa_view_recovery_codes", "mfa_download_recovery_codes"}  # fmt: skip
PARTS = {"account_confirm_email": {"key": "nonsense"}, "mfa_edit_webauthn": {"pk": 1},
         "mfa_remove_webauthn": {"pk": 1},
         "account_reset_password_from_key": {"uidb36": "1", "key": "1-2"}}  # fmt: skip


def names() -> Iterator[str]:
    """The routes of people, by their names."""
    for pattern in get_resolver().url_patterns:
        if isinstance(pattern, URLPattern):
            if str(pattern.name).startswith(("account", "donat")):
                yield str(pattern.name)
        elif getattr(pattern.urlconf_name, "__name__", "") == "accounts.urls":
            yield from (str(each.name) for each in pattern.url_patterns)


def test_every_form_of_people_is_counted_and_every_name_stands_once() -> None:
    found = list(names())
    assert len(found) > 30
    assert len(found) == len(set(found)), "links would lead to the last of two"
    assert set(found) - SHOWN == set(LIMITS)
    assert set(ASKED) <= set(found)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_a_form_from_elsewhere_is_refused(site: Site, name: str) -> None:
    path = reverse(name, kwargs=PARTS.get(name, {}))
    answer = site.session.post(site.url + path, data={"login": "x"}, allow_redirects=False)
    assert answer.status_code == 403
    assert "expired" in answer.text


@pytest.mark.parametrize("name", sorted({"account_logout", "account_preferences"}))
def test_looking_changes_nothing(site: Site, name: str) -> None:
    visitor = Visitor(site).sit(member())
    visitor.get(f"{reverse(name)}?theme=dark&language=ru")
    assert visitor.signed_in
    assert "theme" not in visitor.session.cookies


def asked(path: str, **fields: str) -> HttpResponse | None:
    """What the doors say to a form from an address of its own."""
    request = RequestFactory().post(path, fields, HTTP_HOST="127.0.0.1")
    request.resolver_match = resolve(path)
    return Doors(lambda _: HttpResponse()).process_view(request, None, (), {})  # type: ignore[return-value]  # ours


def test_nobody_is_let_try_while_nobody_can_count() -> None:
    away: dict[str, Any] = {"default": {"BACKEND": "bsod.lib.counters.CounterCache",
                                        "LOCATION": "/no/such/folder/counters"}}  # fmt: skip
    with override_settings(CACHES=away):
        refused = asked("/login/", login=kit.unique("x"))
    assert refused is not None
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "10"


@pytest.mark.parametrize(
    ("wait", "said"),
    [(1, "Next one in 1 s."), (119, "Next one in 119 s."), (121, "Next one in 3 min."),
     (3600, "Next one in 60 min.")],
)  # fmt: skip
def test_when_the_next_try_is_welcome_is_never_told_too_early(wait: int, said: str) -> None:
    assert next_try(wait) == said
