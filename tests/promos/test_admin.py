"""Promo codes in the admin: made, shown once, changed where that is fair, switched off."""

import base64
import csv
import io
import re
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.models import AuditEvent
from promos.models import Promo, PromoCode, Redemption
from promos.rules import Why
from tests import kit
from tests.kit import Person, staff_client
from tests.promos.offers import grants, offer, tried

pytestmark = pytest.mark.once  # about pages; races and service run on both, not about the database

ADD = "/admin/promos/promo/add/"
LIST = "/admin/promos/promo/"


@pytest.fixture(scope="module")
def root(database: None) -> Client:
    """A superuser's browser. Nobody has to hash a password for it."""
    account = kit.person("root").account
    account.is_staff = account.is_superuser = True
    account.save()
    return staff_client(account)


def form(**fields: Any) -> dict[str, Any]:
    return {
        "name": kit.unique("offer"), "note": "", "grants_image": "5", "uses": "1", "per_user": "1",
        "valid_from_0": "2020-01-01", "valid_from_1": "00:00:00", "count": "1", **fields,
    }  # fmt: skip


def shown(page: Any) -> list[str]:
    assert page.status_code == 200, page
    found = re.search(r"<textarea[^>]*>(.*?)</textarea>", page.content.decode(), re.S)
    assert found, page.content.decode()
    return found.group(1).split()


def sheet(page: Any) -> list[list[str]]:
    data = page.context["sheet"].partition("base64,")[2]
    return list(csv.reader(io.StringIO(base64.b64decode(data).decode("utf-8-sig"))))


def test_a_single_code_is_shown_once_and_works(root: Client, alice: Person) -> None:
    asked = form(**{"grants_credits": "100", "grants_text.base": "7", "grant_days": "30"})
    page = root.post(ADD, asked)
    (text,) = shown(page)
    assert "no-store" in page["Cache-Control"]
    promo = Promo.objects.get(name=asked["name"])
    assert promo.grants == {"image": 5, "credits": 100, "text.base": 7}
    assert str(promo.created_by_id) == root.session["_auth_user_id"]
    assert tried(alice, text) is None
    assert grants(alice) == promo.grants
    row, taken = promo.codes.get(), Redemption.objects.get(promo=promo)
    for place in (LIST, f"{LIST}{promo.pk}/change/", "/admin/promos/promocode/?last4=" + text[-4:],
                  f"/admin/promos/promocode/{row.pk}/change/",
                  f"/admin/promos/redemption/{taken.pk}/change/"):  # fmt: skip
        later = root.get(place)
        assert later.status_code == 200, place
        assert text not in later.content.decode(), place
        assert text[-4:] in later.content.decode() or place.startswith(LIST), place
    who = root.get(f"/admin/promos/redemption/?promo__id__exact={promo.pk}").content.decode()
    assert alice.account.username in who
    kept = AuditEvent.objects.get(target_kind="promos.promo", target_id=promo.pk)
    assert (kept.verb, kept.actor_id) == ("promo.create", promo.created_by_id)
    assert kept.facts["gives"] == promo.grants
    assert text not in str(vars(kept))


def test_a_batch_comes_as_a_table_that_computes_nothing(root: Client, alice: Person) -> None:
    name = '=HYPERLINK("http://evil.example","x")' + kit.unique("<script>alert(1)</script>")
    page = root.post(ADD, form(name=name, count="30", uses="2"))
    texts, (head, *lines) = shown(page), sheet(page)
    assert len(set(texts)) == 30
    assert head == ["code", "name", "gives", "uses", "valid_until"]
    assert lines == [[text, f"'{name}", "image=5", "2", ""] for text in texts]
    assert tried(alice, texts[29]) is None
    for place in (LIST, f"{LIST}?q=script"):
        assert b"<script>alert(1)" not in page.content + root.get(place).content


@pytest.mark.parametrize(
    "wrong",
    [{"grants_image": ""}, {"grants_image": "-1"}, {"grants_image": "1.5"}, {"count": "0"},
     {"grants_image": str(10**15 + 1)}, {"count": "1001"}, {"per_user": "0"}, {"uses": "0"},
     {"chosen": "short"}, {"chosen": "long enough", "count": "2"}, {"valid_until_0": "2019-01-01",
     "valid_until_1": "00:00:00"}, {"name": ""}, {"grant_days": "0"}],
)  # fmt: skip
def test_what_makes_no_sense_is_no_offer(wrong: dict[str, str]) -> None:
    asked = site.get_model_admin(Promo).get_form(RequestFactory().get(ADD))
    assert asked(form()).is_valid()
    assert not asked(form(**wrong)).is_valid()


def test_what_makes_no_sense_is_said_on_the_form(root: Client) -> None:
    asked = form(grants_image="0", count="0")
    page = root.post(ADD, asked)
    assert page.status_code == 200
    assert set(page.context["adminform"].form.errors) == {"grants", "count"}
    assert not Promo.objects.filter(name=asked["name"]).exists()


def test_a_chosen_code_is_taken_once(root: Client, alice: Person) -> None:
    chosen = kit.unique("summer")
    assert shown(root.post(ADD, form(chosen=chosen, uses=""))) == [chosen]
    assert b"There has been such a code" in root.post(ADD, form(chosen=chosen.upper())).content
    assert tried(alice, chosen) is None


def test_times_and_limits_may_be_changed_and_what_it_gives_may_not(
    root: Client, alice: Person
) -> None:
    promo, texts = offer(count=2)
    assert tried(alice, texts[0]) is None
    assert tried(alice, texts[1]) is Why.ALREADY
    changed = root.post(
        f"{LIST}{promo.pk}/change/", form(name=promo.name, per_user="2", grants_image="9", uses="7")
    )
    assert changed.status_code == 302, changed.content.decode()
    promo.refresh_from_db()
    assert (promo.per_user, promo.grants, promo.uses) == (2, {"image": 10}, 1)
    kept = AuditEvent.objects.get(verb="promo.change", target_id=promo.pk)
    assert kept.facts["changed"]["per_user"] == [1, 2]
    assert tried(alice, texts[1]) is None
    assert grants(alice) == {"image": 20}
    assert root.post(f"{LIST}{promo.pk}/delete/", {"post": "yes"}).status_code == 403


def test_switching_off_has_a_reason_and_takes_nothing_back(root: Client, alice: Person) -> None:
    promo, texts = offer(count=3, per_user=3)
    first = PromoCode.objects.filter(promo=promo).order_by("id").first()
    assert first is not None
    act = {"action": "switch_off", "_selected_action": [str(promo.pk)]}
    root.post(LIST, act)
    assert tried(alice, texts[1]) is None, "without a reason nothing is done"
    one = {"action": "switch_off", "_selected_action": [str(first.pk)], "reason": "leaked"}
    root.post("/admin/promos/promocode/", one)
    assert tried(alice, texts[0]) is Why.INVALID
    root.post(LIST, {**act, "reason": "over"})
    assert tried(alice, texts[2]) is Why.INVALID
    assert grants(alice) == {"image": 10}
    kept = AuditEvent.objects.filter(verb="promo.disable", target_id__in=[promo.pk, first.pk])
    whys = set(kept.values_list("target_kind", "target_id", "reason"))
    assert {("promos.promocode", str(first.pk), "leaked"),
            ("promos.promo", str(promo.pk), "over")} <= whys  # fmt: skip


def test_a_change_and_a_switch_off_at_once_both_hold(root: Client) -> None:
    """The form was opened before: what it does not show it does not write."""
    promo, _ = offer()
    Promo.objects.filter(pk=promo.pk).update(disabled_at=timezone.now())
    root.post(f"{LIST}{promo.pk}/change/", form(name=promo.name, note="edited"))
    promo.refresh_from_db()
    assert (promo.note, promo.disabled_at is not None) == ("edited", True)


def test_who_lacks_the_permission_does_nothing_here(root: Client) -> None:
    promo, _ = offer()
    account = kit.person("staff").account
    assert staff_client(account).get(LIST).status_code == 302
    account.is_staff = True
    account.save()
    assert staff_client(account).get(LIST).status_code == 403
    account.user_permissions.set(Permission.objects.filter(codename="view_promo"))
    viewer = staff_client(account)
    assert viewer.get(LIST).status_code == 200
    assert viewer.get(ADD).status_code == viewer.post(ADD, form()).status_code == 403
    act = {"action": "switch_off", "_selected_action": [str(promo.pk)], "reason": "no"}
    viewer.post(LIST, act)
    promo.refresh_from_db()
    assert promo.disabled_at is None
    for place in ("promocode/add/", "redemption/add/"):
        assert root.get(f"/admin/promos/{place}").status_code == 403
