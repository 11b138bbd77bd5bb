"""The whole way of a donated key in a real browser, of its donor and of the one who decides.

`SHOTS=FOLDER` keeps a picture of each step. And what people write of themselves is shown in the
console and in the admin, where it is read and does nothing.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth.models import Permission

from accounts.keys.models import ApiKey
from accounts.models import Account, AuditEvent, Plan
from promos.models import Promo
from proxy.donations import service
from proxy.donations.models import Donation
from proxy.models import ProviderKey
from tests import kit
from tests.accounts.door import member
from tests.bsod.browser import PASSWORD
from tests.bsod.chromium import Chromium, Page, browser
from tests.bsod.console.test_journey import fill, send
from tests.kit import Person, Site, Supply
from tests.upstream import FaultServer, models

pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]  # Chromium may have to be installed
SHOTS = os.environ.get("SHOTS")
XSS = (
    "<script>hacked=1;alert(1)</script><img src=x onerror=hacked=2>",
    "\"'><svg onload=hacked=3><iframe srcdoc='<script>parent.hacked=4</script>'>",
    "</textarea></title></script><script>hacked=5</script>{{7*7}}${hacked=6}",
    "<a href=javascript:hacked=7 onfocus=hacked=8 autofocus>x</a><math><style><!--</style>",
    "' x-init=hacked=9 @click=hacked=10 hx-get=/x <details open ontoggle=hacked=11>",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser() as running:
        yield running


def tab(chromium: Chromium, width: int = 1280, height: int = 900) -> Page:
    page = chromium.page(apart=True)
    page.shape(width, height)
    return page


def shot(page: Page, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.picture(Path(SHOTS) / f"{name}.png")


def text_of(page: Page) -> str:
    return str(page.js("document.body.innerText"))


def enter(page: Page, account: Account, secret: str = "") -> None:
    """Sign in on the page that asks for it; `secret`: of the second factor."""
    fill(page, login=account.username, password=PASSWORD)
    send(page, "main form:has([name=password]) button[type=submit]")
    if secret:
        now = int(time.time()) // 30
        fill(page, code=format_hotp_value(hotp_value(secret, now)))
        send(page, "main form:has([name=code]) button[type=submit]")


def press(page: Page, button: str) -> None:
    send(page, f"form button[name=action][value={button}]")


def give(hers: Page, site: Site, supplied: Supply, donor: Account, secret: str) -> Donation:
    """A guest reads, signs in, checks the key and gives it."""
    hers.open(f"{site.url}/support/")
    shot(hers, "1-guest")
    hers.open(f"{site.url}/login/?next=/support/")
    enter(hers, donor)
    hers.js(f"document.getElementById('provider').value = '{supplied.provider.slug}'")
    fill(hers, key=secret, note="From a friend")
    hers.js("document.querySelector('button[value=check]').click()")
    assert kit.eventually(lambda: supplied.model in str(hers.js(
        "document.getElementById('checked').textContent")), 15), hers.problems  # fmt: skip
    shot(hers, "2-checked")
    assert not Donation.objects.filter(donor=donor).exists()
    hers.js("document.querySelector('[name=consent]').click()")
    press(hers, "submit")
    donation = Donation.objects.get(donor=donor)
    assert donation.state == "pending"
    shot(hers, "3-donated")
    return donation


def decide(his: Page, site: Site, guard: Account, donation: Donation, secret: str) -> str:
    """A moderator signs in with his second factor and approves; where he has done it."""
    his.open(f"{site.url}/admin/")
    enter(his, guard, kit.arm(guard))
    shot(his, "4-overview")
    his.open(f"{site.url}/admin/donations/donation/")
    shot(his, "5-queue")
    assert f"…{donation.last4}" in text_of(his)
    place = f"{site.url}/admin/donations/donation/{donation.pk}/change/"
    his.open(place)
    shot(his, "6-donation")
    assert "From a friend" in text_of(his)
    assert secret not in str(his.js("document.documentElement.outerHTML"))
    press(his, "approve")
    shot(his, "7-approved")
    assert AuditEvent.objects.filter(actor=guard, verb="donation.approve").count() == 1
    return place


def test_a_key_is_donated_approved_used_capped_and_taken_back(
    chromium: Chromium, site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    ProviderKey.objects.filter(pk=supplied.key_row().pk).update(paused=True)
    secret = kit.unique("sk-given")
    up.on(models([supplied.model]), path_suffix="/models")
    donor, guard = member("dora"), member("guard", is_staff=True)
    rights = Permission.objects.filter(codename__in=["view_donation", "change_donation"])
    guard.user_permissions.set(rights)

    hers, his = tab(chromium), tab(chromium)
    donation = give(hers, site, supplied, donor, secret)
    place = decide(his, site, guard, donation, secret)
    mine = f"{site.url}/support/{donation.uid}/"
    hers.open(mine)
    shot(hers, "8-in-the-pool")
    donor.refresh_from_db()
    assert donor.plan_id == "supporter"
    assert site.chat(alice, supplied).status_code == 200
    assert up.seen[-1].key == secret
    fill(hers, daily_cap="2")
    press(hers, "change")
    shot(hers, "9-capped")
    assert [site.chat(alice, supplied).status_code for _ in range(2)] == [200, 503]

    hers.open(f"{mine}withdraw/")
    shot(hers, "10-sure")
    press(hers, "withdraw")
    shot(hers, "11-withdrawn")
    donor.refresh_from_db()
    assert donor.plan_id == "free"
    assert ProviderKey.objects.get(donor=donor).sealed == ""
    his.open(place)
    shot(his, "12-gone")
    assert "withdrawn" in text_of(his)
    assert site.chat(alice, supplied).status_code == 503
    assert kit.ledger_adds_up(alice)
    for page in (hers, his):
        assert page.problems == []
        assert [url for url in page.asked if not url.startswith((site.url, "data:"))] == []


def test_what_people_write_is_read_and_does_nothing(
    chromium: Chromium, site: Site, up: FaultServer
) -> None:
    donor = member("mallory")
    name = f"{XSS[0]}{kit.unique('x')}"
    Account.objects.filter(pk=donor.pk).update(username=name[:150])
    plan = Plan.objects.create(slug=kit.unique("plan")[:30], name=XSS[1])
    donation = service.submit(
        donor, kit.supply(up).provider.slug, kit.unique("sk-given"), note="\n".join(XSS),
        consent=True,
    )  # fmt: skip
    key = ApiKey.objects.filter(pk=kit.person("eve").key.pk)
    key.update(account=donor, name=XSS[3][:80])
    promo = Promo.objects.create(name=XSS[4][:80], note=XSS[2], grants={"image": 1}, uses=1)
    number = key.get().pk

    page = tab(chromium)
    page.do("Network.setCookie", name="session", value=kit.session_of(
        Account.objects.get(pk=donor.pk)), url=site.url)  # fmt: skip
    shown = {"/support/": "", f"/support/{donation.uid}/": XSS[0], "/access/": "onfocus=hacked=8",
             f"/access/{number}/": "", "/account/": "", "/": ""}  # fmt: skip
    inert(page, site, shown)
    boss = kit.person("boss", admin=True).account
    kit.arm(boss)
    page.do("Network.setCookie", name="session", value=kit.session_of(boss, factor=True),
            url=site.url)  # fmt: skip
    inert(page, site, {
        "/admin/donations/donation/": "hacked=2",
        f"/admin/donations/donation/{donation.pk}/change/": XSS[4],
        f"/admin/accounts/account/{donor.pk}/change/": "hacked=2",
        f"/admin/accounts/plan/{plan.pk}/change/": "",
        "/admin/accounts/plan/": "onload=hacked=3",
        f"/admin/keys/apikey/{number}/change/": "onfocus=hacked=8",
        f"/admin/promos/promo/{promo.pk}/change/": "",
        "/admin/promos/promo/": "x-init=hacked=9",
        "/admin/": "",
    })  # fmt: skip
    plan.delete()


def inert(page: Page, site: Site, places: dict[str, str]) -> None:
    """What is written stands on each page as text, and nothing of it has run."""
    for place, text in places.items():
        page.open(site.url + place)
        assert text in text_of(page), (place, text_of(page))
        assert page.js("typeof hacked") == "undefined", place
        assert page.problems == [], place
