"""Leaving for good, and taking along what is kept: nothing personal stays, and it all adds up."""

import contextlib
import json

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction

from accounts.factors import Factors
from accounts.flows.close_account import LastAdmin, close_account, may_close
from accounts.keys.models import ApiKey
from accounts.keys.service import create_key
from accounts.models import Account
from bsod.console.leaving import leave
from bsod.lib.terms import Bucket
from proxy.models import Object
from quotas.meter import grant
from quotas.models import Balance, Entry, Outcome, UsageDay
from tests import kit
from tests.accounts.door import Visitor, member, text_of
from tests.bsod.browser import errors
from tests.kit import Person, Site
from tests.promos.offers import code, tried
from tests.upstream import FaultServer, Gate, chat, sse, sse_frame


def somebody() -> Person:
    """A person with an address, a factor and a key from an office."""
    account = member("bob", mail=True)
    sealed = Factors().encrypt("JBSWY3DPEHPK3PXP")
    Authenticator.objects.create(user=account, type="totp", data={"secret": sealed})
    key, secret = create_key(account, "bob's laptop", networks=["127.0.0.0/8"])
    return Person(account, key, secret)


def test_an_account_is_deleted_with_all_that_is_personal_and_the_ledger_adds_up(
    site: Site, up: FaultServer
) -> None:
    bob = somebody()
    supplied = kit.supply(up)
    up.default = chat()
    grant(bob.account, Bucket.IMAGE, 5)
    assert site.post(
        bob, kit.ask(supplied), headers={"Idempotency-Key": kit.unique("once")}
    ).status_code == 200  # fmt: skip
    used = bob.closed() and bob.used()
    assert used > 0
    visitor, phone = Visitor(site).sit(bob.account, again=True), Visitor(site).sit(bob.account)
    page = visitor.post("/account/delete/", username=bob.account.username.upper())
    assert "This is not your username." in errors(page)
    assert site.chat(bob, supplied).status_code == 200
    gone = visitor.post("/account/delete/", username=bob.account.username)
    assert gone.headers["Location"] == "/account/gone/"
    assert {site.chat(bob, supplied).status_code for _ in range(4)} == {401}
    assert not visitor.signed_in
    assert not phone.signed_in
    assert "Wrong name" in text_of(Visitor(site).enter(bob.account.username))
    row = Account.objects.get(pk=bob.account.pk)
    assert (row.username, row.email, row.is_active) == (f"deleted-{row.pk}", "", False)
    assert not row.has_usable_password()
    kept = json.dumps(list(ApiKey.objects.filter(account=row).values()), default=str)
    assert "laptop" not in kept
    assert "127.0.0.0" not in kept
    for model in (EmailAddress, Authenticator, UserSession):
        assert not model.objects.filter(user=row).exists()
    for model in (Entry, UsageDay, Outcome):
        assert not model.objects.filter(account=row).exists()
    assert bob.used() == 2 * used, "what was used stays used, without a call to it"
    assert Balance.objects.filter(account=row, closed__gt=0).exists()
    assert kit.ledger_adds_up(bob)
    leave(row)
    assert kit.ledger_adds_up(bob)


def test_a_call_under_way_ends_as_it_would_have(site: Site, up: FaultServer) -> None:
    bob = somebody()
    supplied = kit.supply(up)
    gate = Gate()
    first = sse_frame({"choices": [{"index": 0, "delta": {"content": "Hi"}}]})
    last = sse_frame({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    up.script(sse(first, gate, last))
    answer = site.post(bob, kit.ask(supplied, stream=True), stream=True)
    lines = answer.iter_lines()
    assert next(line for line in lines if b"Hi" in line)
    leave(bob.account)
    assert site.chat(bob, supplied).status_code == 401
    gate.open()
    assert b"data: [DONE]" in list(lines)
    assert bob.closed()[0].end_reason == "completed"
    assert kit.ledger_adds_up(bob)


def test_the_last_admin_stays_and_others_may_go(site: Site) -> None:
    class Back(Exception):
        """So that the others are admins again."""

    root = member("root", is_superuser=True, is_staff=True)
    member("root", is_superuser=True)
    may_close(root)
    with contextlib.suppress(Back), transaction.atomic():
        Account.objects.filter(is_superuser=True).exclude(pk=root.pk).update(is_superuser=False)
        with pytest.raises(LastAdmin):
            close_account(root)
        raise Back
    root.refresh_from_db()
    assert root.is_active


def test_an_export_has_all_that_is_kept_and_no_secret(site: Site, up: FaultServer) -> None:
    bob, eve = somebody(), kit.person("eve")
    supplied = kit.supply(up)
    up.default = chat("a secret answer")
    site.chat(bob, supplied)
    site.chat(eve, supplied)
    (entry,) = bob.closed()
    promo = code(grants={"file": 2})
    assert tried(bob, promo) is None
    key = supplied.key_row()
    Object.objects.create(account=bob.account, provider=key.provider, key=key, kind="file",
                          upstream_id=kit.unique("file"))  # fmt: skip
    visitor = Visitor(site).sit(bob.account, again=True)
    assert "keys without their secrets" in text_of(visitor.get("/account/export/"))
    answer = visitor.post("/account/export/")
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="bsod-')
    assert answer.headers["Cache-Control"] == "no-store"
    found = answer.json()
    assert found["account"]["username"] == bob.account.username
    assert entry.id in [row["id"] for row in found["entries"]]
    assert [row["last4"] for row in found["promo_codes"]] == [promo[-4:]]
    assert found["objects"][0]["upstream_id"].startswith("file-")
    assert found["notices"] == []
    assert found["usage"][0]["amount"] == entry.amount
    assert [key["name"] for key in found["keys"]] == ["bob's laptop"]
    assert found["email_addresses"][0]["email"] == bob.account.email
    assert found["sessions"][0]["ip"] == "127.0.0.1"
    assert found["second_factors"][0]["type"] == "totp"
    assert found["balances"][0]["used"] == entry.amount
    hidden = [bob.secret[17:-4], bob.key.digest, bob.account.password, "JBSWY3DPEHPK3PXP",
              "secret answer", eve.account.username, supplied.keys[0],
              str(visitor.session.cookies["session"])]  # fmt: skip
    assert not [word for word in hidden if word in answer.text]


def test_an_export_of_many_calls_is_whole_and_in_order(site: Site) -> None:
    bob = kit.person("bob")
    ids = [f"01{number:024d}" for number in range(2_500)]
    Entry.objects.bulk_create(
        Entry(id=id_, account=bob.account, api_key=bob.key, bucket="text.base", day="2026-01-01",
              state="settled") for id_ in ids
    )  # fmt: skip
    answer = Visitor(site).sit(bob.account, again=True).post("/account/export/")
    assert [row["id"] for row in answer.json()["entries"]] == ids
