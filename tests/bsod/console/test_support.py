"""The Support tab: what a donor does to his own key, what he is told, and what nobody is shown."""

import json
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings

from accounts.models import Account, Plan
from bsod.console.doors import LIMITS
from bsod.console.export import export
from bsod.console.leaving import leave
from bsod.lib import clock
from proxy.donations import service
from proxy.donations.models import Donation
from proxy.donations.standing import SUPPORTER
from proxy.models import KeyDay
from tests import kit
from tests.kit import Person, Supply
from tests.upstream import MODELS, FaultServer, error

pytestmark = pytest.mark.once
NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


class Donor:
    """A person's browser, and his scripts, in this very process."""

    def __init__(self, person: Person) -> None:
        self.account = Account.objects.get(pk=person.account.pk)
        self.client = Client(headers={"Host": "127.0.0.1", "Accept": "text/html"})
        self.client.force_login(self.account)

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.client.get(path, headers=headers)  # type: ignore[return-value]  # one of ours

    def text(self, path: str) -> str:
        return self.get(path).content.decode()

    def form(self, path: str, **fields: Any) -> HttpResponse:
        return self.client.post(path, fields)  # type: ignore[return-value]  # one of ours

    def script(self, path: str, body: Any) -> HttpResponse:
        return self.client.post(  # type: ignore[return-value]  # one of ours
            path, json.dumps(body), content_type="application/json"
        )

    def gives(self, supplied: Supply, **more: Any) -> Donation:
        """A donation that waits for its decision."""
        key = kit.unique("sk-given")
        fields = {"provider": supplied.provider.slug, "key": key, "consent": True, **more}
        answer = self.script("/donate-key/", fields)
        assert answer.status_code == 201, answer.content
        return Donation.objects.get(uid=said(answer)["id"])


def said(answer: HttpResponse) -> Any:
    return json.loads(answer.content)


def told(answer: HttpResponse) -> str:
    return str(said(answer)["error"]["message"])


@pytest.fixture
def supplied(up: FaultServer) -> Supply:
    return kit.supply(up)


@pytest.fixture
def donor(alice: Person) -> Donor:
    return Donor(alice)


@pytest.fixture
def approved(donor: Donor, supplied: Supply, bob: Person) -> Donation:
    made = donor.gives(supplied)
    service.approve(made, bob.account)
    made.refresh_from_db()
    return made


# ---- giving


def test_a_guest_reads_what_it_is_and_signs_in_first() -> None:
    guest = Client(headers={"Host": "127.0.0.1", "Accept": "text/html"})
    page = guest.get("/support/").content.decode()
    assert "Many providers forbid sharing keys." in page
    assert 'href="/login/?next=/support/"' in page
    assert "/donate-key/" not in page
    sent = guest.post("/donate-key/", {"provider": "openai", "key": "sk-mine-12345"})
    assert sent.status_code == 302
    assert sent["Location"].startswith("/login/")


def test_a_key_is_checked_before_it_is_given_and_nothing_of_it_is_kept(
    donor: Donor, supplied: Supply
) -> None:
    secret = kit.unique("sk-looked-at")
    fields = {"provider": supplied.provider.slug, "key": secret, "action": "check"}
    page = donor.form("/donate-key/", **fields).content.decode()
    assert f"opens {len(MODELS)} models" in page
    assert all(f"<code>{name}</code>" in page for name in MODELS)
    assert secret not in page
    found = said(donor.script("/donate-key/", fields))
    assert (found["works"], found["models"]) == (True, list(MODELS))
    supplied.up.on(error(401), key=secret)
    refused = donor.form("/donate-key/", **fields)
    assert "This key works" not in refused.content.decode()
    assert secret not in refused.content.decode()
    assert not said(donor.script("/donate-key/", fields)).get("works")
    assert not Donation.objects.filter(donor=donor.account).exists()


def test_a_key_given_with_a_form_waits_and_says_so(donor: Donor, supplied: Supply) -> None:
    secret = kit.unique("sk-given")
    answer = donor.form(
        "/donate-key/", provider=supplied.provider.slug, key=secret, note=NASTY, daily_cap="1 000",
        models="gpt-5.4\ngpt-5.4-mini", consent="yes", action="submit",
    )  # fmt: skip
    made = Donation.objects.get(donor=donor.account)
    assert answer["Location"] == f"/support/{made.uid}/"
    assert (made.daily_cap, made.allowed_models) == (1000, ["gpt-5.4", "gpt-5.4-mini"])
    page = donor.text(f"/support/{made.uid}/")
    assert "waits for approval" in page
    assert "Checked: it works" in page
    assert f"…{secret[-4:]}" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert secret not in page + donor.text("/support/")
    script = said(donor.get(f"/support/{made.uid}/", Accept="application/json"))
    assert (script["id"], script["state"], script["last4"]) == (made.uid, "pending", secret[-4:])
    assert {"sealed", "fingerprint", "key", "donor"}.isdisjoint(script)


@override_settings(RATELIMIT_ENABLE=False)
def test_what_is_refused_is_said_at_its_field_and_leaves_nothing(
    donor: Donor, supplied: Supply
) -> None:
    good = {"provider": supplied.provider.slug, "key": kit.unique("sk-given"), "consent": True}
    wrong: list[tuple[dict[str, Any], str, int]] = [
        ({"consent": False}, "consent", 400),
        ({"provider": "no-such-provider"}, "provider", 400),
        ({"key": "two words here"}, "key", 400),
        ({"key": ""}, "key", 400),
        ({"daily_cap": 0}, "daily_cap", 400),
        ({"note": "n" * 501}, "note", 400),
        ({"models": ["gpt-5.4", "not-on-its-list"]}, "models", 400),
        ({"key": supplied.keys[0]}, "key", 409),
    ]
    for change, param, status in wrong:
        answer = donor.script("/donate-key/", good | change)
        assert (answer.status_code, said(answer)["error"]["param"]) == (status, param), change
        page = donor.form("/donate-key/", **good | change)
        assert page.status_code == 400
        assert 'class="wrong"' in page.content.decode(), change
    assert not Donation.objects.filter(donor=donor.account).exists()


def test_a_key_that_is_here_already_is_refused_alike_whoever_has_it(
    donor: Donor, supplied: Supply, bob: Person
) -> None:
    theirs = kit.unique("sk-theirs")
    Donor(bob).gives(supplied, key=theirs)
    good = {"provider": supplied.provider.slug, "consent": True}
    words = {told(donor.script("/donate-key/", good | {"key": key}))
             for key in (supplied.keys[0], theirs)}  # fmt: skip
    assert len(words) == 1
    assert bob.account.username not in words.pop()


@override_settings(RATELIMIT_ENABLE=False)
def test_no_refusal_repeats_the_secret(donor: Donor, supplied: Supply) -> None:
    secret = kit.unique("sk-canary")
    spoiled: list[dict[str, Any]] = [
        {"key": [secret]}, {"key": {"x": secret}}, {"key": f"{secret} \u0430"},
        {"key": secret * 50}, {"provider": secret}, {"note": f"it is {secret}"},
        {"models": [secret]}, {"daily_cap": secret}, {"consent": secret}, {"action": secret},
        {secret: 1},
    ]  # fmt: skip
    for spoil in spoiled:
        body = {"provider": supplied.provider.slug, "key": secret, "consent": True} | spoil
        answer = donor.script("/donate-key/", body)
        assert answer.status_code == 400, spoil
        page = donor.form("/donate-key/", **body)
        assert page.status_code in (302, 400), "a form's unknown field is not looked at"
        for each in (answer, page):
            assert secret not in each.content.decode() + str(each.headers), spoil
    for one in Donation.objects.filter(donor=donor.account):
        assert secret not in str(vars(one))


def test_nobody_gives_or_checks_more_than_five_keys_an_hour(donor: Donor, supplied: Supply) -> None:
    assert LIMITS["donate_key"] == (("user_or_ip", "5/h"),)
    body = {"provider": "none", "key": "sk-anything-at-all"}
    assert [donor.script("/donate-key/", body).status_code for _ in range(5)] == [400] * 5
    late = donor.form("/donate-key/", **body)
    assert late.status_code == 429
    assert "Next one in " in late.content.decode()
    assert 0 < int(late["Retry-After"]) <= 3600


def test_while_donations_are_closed_nothing_is_taken_and_the_own_ones_stay(
    donor: Donor, approved: Donation
) -> None:
    with override_settings(DONATIONS=False):
        page = donor.text("/support/")
        assert "Donations are closed" in page
        assert f'href="/support/{approved.uid}/"' in page
        assert "/donate-key/" not in page
        body = {"provider": approved.provider.slug, "key": kit.unique("sk-x"), "consent": True}
        assert donor.script("/donate-key/", body).status_code == 403
        assert "closed" in donor.form("/donate-key/", **body).content.decode()
        act = {"id": approved.uid, "action": "withdraw"}
        assert said(donor.script("/donation-action/", act))["state"] == "withdrawn"
    assert Donation.objects.filter(donor=donor.account).count() == 1


# ---- what is one's own


def test_somebody_elses_donation_is_not_there(donor: Donor, approved: Donation) -> None:
    before = Donation.objects.filter(pk=approved.pk).values().get()
    stranger = Donor(kit.person("mallory"))
    for path in (f"/support/{approved.uid}/", f"/support/{approved.uid}/withdraw/"):
        assert stranger.get(path).status_code == 404
        assert stranger.get(path, Accept="application/json").status_code == 404
    for action in ("change", "pause", "resume", "withdraw"):
        body = {"id": approved.uid, "action": action, "daily_cap": 1}
        assert stranger.script("/donation-action/", body).status_code == 404
        assert stranger.form("/donation-action/", **body).status_code == 404
    assert approved.uid not in stranger.text("/support/")
    for uid in ("", "x", "0" * 26, approved.uid + "0", "\u0660" * 26):
        body = {"id": uid, "action": "pause"}
        assert donor.script("/donation-action/", body).status_code == 404
    assert Donation.objects.filter(pk=approved.pk).values().get() == before


def test_a_donor_limits_pauses_and_takes_back_his_key(donor: Donor, approved: Donation) -> None:
    place = f"/support/{approved.uid}/"

    def act(action: str, **more: Any) -> Donation:
        answer = donor.form("/donation-action/", id=approved.uid, action=action, **more)
        assert (answer.status_code, answer["Location"]) == (302, place)
        return Donation.objects.get(pk=approved.pk)

    changed = act("change", daily_cap="12", models="gpt-5.4")
    assert (changed.daily_cap, changed.allowed_models) == (12, ["gpt-5.4"])
    body = {"id": approved.uid, "action": "change", "daily_cap": 7}
    script = said(donor.script("/donation-action/", body))
    assert (script["daily_cap"], script["models"]) == (7, ["gpt-5.4"]), "the other one stays"
    assert act("pause").paused
    assert "Resume" in donor.text(place)
    assert not act("resume").paused
    assert "wiped at once" in donor.text(f"{place}withdraw/")
    assert act("withdraw").state == "withdrawn"
    page = donor.text(place)
    assert "Withdrawn: it is wiped" in page
    assert "/donation-action/" not in page
    assert donor.get(f"{place}withdraw/").status_code == 302


def test_nothing_else_of_a_donation_is_a_donors_to_set(donor: Donor, approved: Donation) -> None:
    before = Donation.objects.filter(pk=approved.pk).values().get()
    tries: list[dict[str, Any]] = [
        {"state": "pending"}, {"donor": 1}, {"trusted_objects": True}, {"daily_cap": "5"},
        {"daily_cap": -1}, {"daily_cap": 1.5}, {"models": "x"}, {"models": [1]},
        {"action": "approve"}, {"action": ["pause"]},
    ]  # fmt: skip
    for more in tries:
        body = {"id": approved.uid, "action": "change", **more}
        assert donor.script("/donation-action/", body).status_code == 400, more
    assert Donation.objects.filter(pk=approved.pk).values().get() == before


def test_the_use_of_a_key_is_drawn_and_stands_in_a_table(donor: Donor, approved: Donation) -> None:
    service.change(approved, daily_cap=1500, models=None)
    day = clock.day_of(clock.now())
    key = approved.provider_key
    assert key
    for each, calls in ((day, 1234), ("2020-01-01", 9999)):
        KeyDay.objects.create(key=key, day=each, calls=calls)
    page = donor.text(f"/support/{approved.uid}/")
    assert "1\u2009234 of 1\u2009500 calls today" in page
    assert f"<title>{day}: 1\u2009234</title>" in page
    assert '<td class="end nowrap">1\u2009234</td>' in page
    assert "9\u2009999" not in page
    assert "1\u2009234" in donor.text("/support/")


def test_what_there_is_to_gain_is_what_the_plan_says(donor: Donor) -> None:
    plan = Plan.objects.get(slug=SUPPORTER)
    page = donor.text("/support/")
    shown = [plan.requests_per_minute, plan.open_calls, *plan.caps.values()]
    assert all(f"{n:,}".replace(",", "\u2009") in page for n in shown)
    assert f"Now, {donor.account.plan.name}" in page


def test_a_rejection_is_told_with_its_reason_and_nothing_of_it_is_markup(
    donor: Donor, supplied: Supply, bob: Person
) -> None:
    made = donor.gives(supplied)
    service.reject(made, bob.account, f"No. {NASTY}")
    page = donor.text(f"/support/{made.uid}/")
    assert "Rejected, and the key is wiped." in page
    assert "No. &quot;&gt;&lt;script&gt;" in page
    assert "<script>alert" not in page


# ---- the account's end, and its file


def test_the_export_has_ones_donations_and_no_secret(donor: Donor, supplied: Supply) -> None:
    secret = kit.unique("sk-mine")
    made = donor.gives(supplied, key=secret, note="for the kids")
    rows = said_by(donor.account)["donations"]
    assert [row["note"] for row in rows] == ["for the kids"]
    assert rows[0]["id"] == made.uid
    assert secret not in json.dumps(rows)
    assert {"sealed", "fingerprint"}.isdisjoint(rows[0])


def said_by(account: Account) -> Any:
    from asgiref.sync import async_to_sync

    async def whole() -> str:
        return "".join([part async for part in export(account)])

    return json.loads(async_to_sync(whole)())


def test_who_leaves_takes_his_keys_along(donor: Donor, supplied: Supply, bob: Person) -> None:
    pending, pooled = donor.gives(supplied), donor.gives(supplied)
    service.approve(pooled, bob.account)
    leave(donor.account)
    for made in (pending, pooled):
        made.refresh_from_db()
        assert (made.state, made.sealed, made.note) == ("withdrawn", "", "")
    assert pooled.provider_key
    assert pooled.provider_key.deleted_at
    leave(donor.account)
    assert Donation.objects.filter(donor=donor.account, ended_at=None).count() == 0
