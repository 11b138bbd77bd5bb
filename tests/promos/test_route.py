"""`POST /admin/promocodes/`: the same service by script, and nothing done in part."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import AuditEvent
from promos.models import Promo, PromoCode
from promos.rules import Why
from tests import kit
from tests.kit import Person, staff_client
from tests.promos.offers import grants, offer, tried

pytestmark = pytest.mark.once  # about a route, not about the database

ROUTE = "/admin/promocodes/"
JSON = "application/json"


def staff(*permissions: str, **client: Any) -> Client:
    account = kit.person("staff").account
    account.is_staff = True
    account.save()
    account.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return staff_client(account)


@pytest.fixture(scope="module")
def maker(database: None) -> Client:
    return staff("add_promo", "change_promo", "view_promo")


def post(client: Client, **body: Any) -> Any:
    return client.post(ROUTE, body, content_type=JSON, headers={"accept": JSON})


def test_codes_are_made_told_once_and_recorded_without_them(maker: Client, alice: Person) -> None:
    name = kit.unique("spring")
    answer = post(
        maker, action="make", name=name, grants={"image": 2, "credits": 7}, count=3, uses=5,
        per_user=2, first_users_only=True, grant_days=9, valid_until="2999-01-01T00:00:00Z",
        reason="for the fair",
    )  # fmt: skip
    assert answer.status_code == 200, answer.content
    assert "no-store" in answer["Cache-Control"]
    body = answer.json()
    promo = Promo.objects.get(name=name)
    assert body["promo"]["id"] == promo.pk
    assert (promo.uses, promo.per_user, promo.first_users_only, promo.grant_days) == (5, 2, True, 9)
    assert promo.valid_until is not None
    assert promo.valid_until.year == 2999
    assert len(set(body["codes"])) == promo.codes.count() == 3
    assert tried(alice, body["codes"][1]) is None
    assert grants(alice) == {"image": 2, "credits": 7}
    kept = AuditEvent.objects.get(target_kind="promos.promo", target_id=promo.pk)
    assert (kept.verb, kept.reason, kept.actor_id) == (
        "promo.create", "for the fair", promo.created_by_id
    )  # fmt: skip
    assert not [code for code in body["codes"] if code in str(vars(kept))]


def test_a_chosen_code_and_one_without_a_limit(maker: Client, alice: Person) -> None:
    chosen = kit.unique("festival")
    asked = {"name": chosen, "grants": {"image": 1}, "chosen": chosen, "uses": None}
    assert post(maker, action="make", **asked).json()["codes"] == [chosen]
    assert PromoCode.objects.get(promo__name=chosen).most is None
    again = post(maker, action="make", **{**asked, "name": kit.unique("again")})
    assert (again.status_code, again.json()["error"]["param"]) == (400, "chosen")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"grants": {}}, "grants"), ({"grants": {"gold": 1}}, "grants"),
        ({"grants": {"image": 1.5}}, "grants"), ({"grants": {"image": True}}, "grants"),
        ({"grants": {"image": -1}}, "grants"), ({"grants": [5]}, "grants"),
        ({"grants": {"image": 10**16}}, "grants"), ({"count": 1001}, "count"),
        ({"count": 0}, "count"), ({"count": None}, "count"), ({"uses": "many"}, "uses"),
        ({"per_user": 0}, "per_user"), ({"valid_until": "never"}, "valid_until"),
        ({"valid_until": "2001-01-01T00:00:00Z"}, None), ({"name": ""}, "name"),
        ({"name": "x" * 81}, "name"), ({"name": "a\0b"}, "name"), ({"chosen": "short"}, "chosen"),
        ({"first_users_only": "maybe"}, "first_users_only"), ({"created_by": 1}, "created_by"),
        ({"disabled_at": None}, "disabled_at"), ({"action": "give"}, "action"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_makes_nothing(
    maker: Client, wrong: dict[str, Any], param: str | None
) -> None:
    name = kit.unique("wrong")
    asked = {"action": "make", "name": name, "grants": {"image": 1}, **wrong}
    answer = post(maker, **asked)
    assert answer.status_code == 400, answer.content
    error = answer.json()["error"]
    assert error["param"] == param
    assert len(error["message"]) > 10
    assert not Promo.objects.filter(name=name).exists()


def test_switching_off_is_all_or_nothing(maker: Client, alice: Person) -> None:
    (first, codes), (second, others) = offer(), offer()
    assert post(maker, action="disable", promo=first.pk).status_code == 400, "no reason"
    missing = post(maker, action="disable", promo=[first.pk, 10**12], reason="leaked")
    assert missing.status_code == 404
    assert post(maker, action="disable", promo=first.pk, code=1, reason="x").status_code == 400
    assert tried(alice, codes[0]) is None
    done = post(maker, action="disable", promo=[first.pk, second.pk], reason="leaked")
    assert sorted(done.json()["disabled"]) == sorted([first.pk, second.pk])
    assert tried(alice, others[0]) is Why.INVALID
    again = post(maker, action="disable", promo=first.pk, reason="leaked")
    assert again.json()["disabled"] == []
    kept = AuditEvent.objects.filter(verb="promo.disable", target_id=first.pk, reason="leaked")
    assert kept.filter(target_kind="promos.promo").count() == 1


def test_one_code_of_a_batch_is_switched_off(maker: Client, alice: Person) -> None:
    promo, texts = offer(count=2, per_user=2)
    row = PromoCode.objects.get(promo=promo, last4=texts[0][-4:])
    assert post(maker, action="disable", code=row.pk, reason="lost").status_code == 200
    assert tried(alice, texts[0]) is Why.INVALID
    assert tried(alice, texts[1]) is None


def test_a_form_is_sent_back_to_the_list_and_no_code_is_lost_on_the_way(maker: Client) -> None:
    promo, _ = offer()
    done = maker.post(ROUTE, {"action": "disable", "promo": promo.pk, "reason": "over"})
    assert (done.status_code, done["Location"]) == (302, "/admin/promos/promo/")
    name = kit.unique("form")
    made = maker.post(ROUTE, {"action": "make", "name": name})
    assert made.status_code == 400
    assert not Promo.objects.filter(name=name).exists()


def test_each_act_needs_its_permission() -> None:
    promo, _ = offer()
    viewer, adder = staff("view_promo"), staff("add_promo")
    for client, act in ((viewer, {"action": "make"}), (adder, {"action": "disable"})):
        answer = post(client, **act, promo=promo.pk, reason="x")
        assert answer.status_code in (400, 403)
        answer = post(client, **act)
        assert (answer.status_code, "permission" in answer.content.decode()) == (403, True)
    promo.refresh_from_db()
    assert promo.disabled_at is None
