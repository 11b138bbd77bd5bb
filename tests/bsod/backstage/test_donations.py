"""Donated keys under moderation: the queue, the buttons, the route, and what is told of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client

from accounts.models import Account, AuditEvent
from bsod.lib import clock
from bsod.notices import collect
from bsod.notices.models import Notice
from proxy.donations import service
from proxy.donations.models import Donation, State
from proxy.models import ProviderKey
from tests import kit
from tests.accounts.door import member
from tests.upstream import FaultServer, error

pytestmark = pytest.mark.once  # about pages; the service's races are tested on both

ROUTE = "/admin/donations/"
LIST = "/admin/donations/donation/"
NOTE = "<script>alert(1)</script>"


def moderator(*permissions: str) -> Account:
    account = member("guard", mail=True, is_staff=True)
    names = permissions or ("view_donation", "change_donation")
    account.user_permissions.set(Permission.objects.filter(codename__in=names))
    return account


@pytest.fixture(scope="module")
def guard(database: None) -> Account:
    return moderator()


@pytest.fixture(scope="module")
def browser(guard: Account) -> Client:
    return kit.staff_client(guard)


def given(up: FaultServer) -> tuple[Donation, str]:
    """A key that somebody has donated, and its secret."""
    secret = kit.unique("sk-given")
    provider = kit.supply(up).provider
    donor = member("dora", mail=True)
    donation = service.submit(donor, provider.slug, secret, note=NOTE, consent=True)
    return donation, secret


def sent(client: Client, **body: Any) -> Any:
    return client.post(ROUTE, json.dumps(body), content_type="application/json")


def act(client: Client, donation: Donation, action: str, **fields: str) -> Any:
    """Press a button of its page."""
    chosen = {"_selected_action": donation.pk, "of_object": donation.pk}
    return client.post(LIST, {"action": action, **chosen, **fields}, follow=True)


def kept(donation: Donation, guard: Account) -> list[tuple[str, str]]:
    """What the audit log has of it."""
    rows = AuditEvent.objects.filter(
        actor=guard, target_kind="donations.donation", target_id=str(donation.pk)
    )
    return list(rows.order_by("id").values_list("verb", "reason"))


def told(donation: Donation) -> list[tuple[str, str]]:
    collect.collect(clock.now())
    rows = Notice.objects.filter(account=donation.donor, facts__uid=donation.uid).order_by("id")
    return [(row.topic, row.facts["text"]) for row in rows]


def test_what_waits_comes_first_and_no_page_shows_a_secret(
    browser: Client, up: FaultServer
) -> None:
    waits, secret = given(up)
    done, _ = given(up)
    service.reject(done, None, "no")
    page = browser.get(LIST).content.decode()
    assert page.index(f"…{waits.last4}") < page.index(f"…{done.last4}")
    both = page + browser.get(f"{LIST}{waits.pk}/change/").content.decode()
    assert f"…{waits.last4}" in both
    assert "&lt;script&gt;alert(1)" in both
    assert NOTE not in both
    assert "submitted" in both
    assert "Show all" not in page, "it shows them all"
    assert browser.get(f"{LIST}0/change/").status_code == 302
    for hidden in (secret, waits.fingerprint, waits.sealed):
        assert hidden not in both


def test_a_button_approves_and_the_donor_hears_of_it(
    browser: Client, guard: Account, up: FaultServer
) -> None:
    donation, secret = given(up)
    page = act(browser, donation, "approve_trusted")
    assert page.redirect_chain == [(f"{LIST}{donation.pk}/change/", 302)]
    assert "approved" in page.content.decode()
    donation.refresh_from_db()
    assert (donation.state, donation.trusted_objects) == (State.APPROVED, True)
    assert kept(donation, guard) == [("donation.approve", "")]
    assert [topic for topic, _ in told(donation)] == ["donation_submitted", "donation_approved"]
    waiting = Notice.objects.get(account=guard, facts__uid=donation.uid)
    assert waiting.topic == "donation_waiting"
    assert secret not in json.dumps(waiting.facts)


def test_approving_twice_in_parallel_makes_one_key(guard: Account, up: FaultServer) -> None:
    donation, _ = given(up)
    clients = [kit.staff_client(guard) for _ in range(4)]

    def approve(client: Client) -> int:
        try:
            return int(sent(client, action="approve", donation=donation.pk).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(approve, clients)) == [200] * 4
    assert ProviderKey.objects.filter(donor=donation.donor).count() == 1
    assert kept(donation, guard) == [("donation.approve", "")]


def test_a_rejection_has_a_reason_that_the_donor_reads_and_wipes_the_secret(
    browser: Client, guard: Account, up: FaultServer
) -> None:
    donation, _ = given(up)
    assert "Give a reason" in act(browser, donation, "reject", reason=" ").content.decode()
    refused = sent(browser, action="reject", donation=donation.uid)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "reason")
    donation.refresh_from_db()
    assert donation.state == State.PENDING
    for _ in range(2):
        answer = sent(browser, action="reject", donation=donation.uid, reason="Too small")
        assert answer.status_code == 200
    assert answer.json()["donations"][0]["state"] == "rejected"
    donation.refresh_from_db()
    assert donation.sealed == ""
    assert kept(donation, guard) == [("donation.reject", "Too small")]
    assert told(donation)[-1] == ("donation_rejected", "Too small")


def test_a_donor_is_told_of_a_withdrawal_only_if_it_was_not_his_own(
    browser: Client, guard: Account, up: FaultServer
) -> None:
    mine, theirs = given(up)[0], given(up)[0]
    service.withdraw(mine)
    answer = sent(browser, action="withdraw", donation=theirs.pk, reason="Asked by mail")
    assert answer.status_code == 200
    assert [topic for topic, _ in told(mine)] == ["donation_submitted"]
    assert told(theirs)[-1] == ("donation_withdrawn", "Asked by mail")
    assert kept(theirs, guard) == [("donation.withdraw", "Asked by mail")]


def test_a_donor_who_wants_to_hear_nothing_hears_nothing(browser: Client, up: FaultServer) -> None:
    donation, _ = given(up)
    Account.objects.filter(pk=donation.donor_id).update(donation_notices=False)
    assert sent(browser, action="reject", donation=donation.pk, reason="No").status_code == 200
    assert told(donation) == []


def test_asking_again_shows_what_the_provider_says_now(browser: Client, up: FaultServer) -> None:
    donation, _ = given(up)
    up.default = error(401)
    answer = sent(browser, action="recheck", donation=donation.pk)
    assert answer.status_code == 200
    before = donation.probe
    donation.refresh_from_db()
    assert donation.probe != before
    assert donation.state == State.PENDING
    refused = sent(browser, action="approve", donation=donation.pk)
    assert refused.status_code == 409
    assert "does not know this key" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"action": "eat"}, 400, "approve, reject, recheck, trust, withdraw"),
        ({}, 400, "action"),
        ({"action": "approve", "sealed": "x"}, 400, "sealed is no field"),
        ({"action": "approve", "trusted": "maybe"}, 400, "trusted must be true or false"),
        ({"action": "approve", "donation": None}, 400, "must name"),
        ({"action": "approve", "donation": "9" * 30}, 404, "no donation"),
        ({"action": "reject", "reason": "no", "donation": True}, 400, "must be an id"),
    ],
)
def test_the_route_says_what_it_does_not_understand(
    browser: Client, up: FaultServer, body: dict[str, Any], status: int, named: str
) -> None:
    donation, _ = given(up)
    answer = sent(browser, **{"donation": donation.pk, **body})
    assert answer.status_code == status
    assert named in answer.json()["error"]["message"]
    donation.refresh_from_db()
    assert donation.state == State.PENDING


def test_what_no_database_can_hold_is_a_bad_question(browser: Client, up: FaultServer) -> None:
    donation, _ = given(up)
    body = f'{{"action": "reject", "donation": {donation.pk}, "reason": "\\ud800"}}'
    refused = browser.post("/admin/donations/", body, content_type="application/json")
    assert refused.status_code == 400
    assert browser.get(f"{LIST}?pk__in={'9' * 40}").status_code == 400


def test_where_one_of_them_cannot_have_it_nothing_is_done_to_any(
    browser: Client, up: FaultServer
) -> None:
    good, ended = given(up)[0], given(up)[0]
    service.withdraw(ended)
    answer = sent(browser, action="approve", donations=[good.pk, ended.pk])
    assert answer.status_code == 409
    assert "withdrawn" in answer.json()["error"]["message"]
    good.refresh_from_db()
    assert good.state == State.PENDING


def test_who_may_only_look_decides_nothing(up: FaultServer) -> None:
    donation, _ = given(up)
    onlooker = kit.staff_client(moderator("view_donation"))
    page = onlooker.get(f"{LIST}{donation.pk}/change/")
    assert page.status_code == 200
    assert 'value="approve"' not in page.content.decode()
    act(onlooker, donation, "approve")
    assert sent(onlooker, action="approve", donation=donation.pk).status_code == 403
    donation.refresh_from_db()
    assert donation.state == State.PENDING
