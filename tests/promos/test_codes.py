"""Codes are easy to say and hard to guess; whether one may be redeemed is decided from values."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from promos import codes
from promos.rules import Facts, Terms, Why, refusal

pytestmark = pytest.mark.once
NOW = datetime(2031, 7, 1, tzinfo=UTC)
OPEN = Terms(10, 0, 1, False, NOW, NOW + timedelta(days=1), False)
NEW = Facts(OPEN, False, 0, 0, False)


def test_a_random_code_has_eighty_bits_and_no_letter_that_is_misheard() -> None:
    made = [codes.mint() for _ in range(2000)]
    assert len(set(made)) == 2000
    marks = set("".join(made)) - {"-"}
    assert len(marks) == 32, "five bits a character"
    assert marks.isdisjoint("ILOU")
    assert {len(text.replace("-", "")) for text in made} == {16}
    assert all(codes.fold(text) == text.replace("-", "") for text in made)


@pytest.mark.parametrize(
    "typed",
    ["01AB-CDEF-GH12", "oiab cdef gh12", " OLab–cdef\u00a0gh12\n", "O1ABC DEFGHI2",
     "０１ＡＢcdefgh12", "01\u200babcdefgh12", "01АВСDЕFGН12"],
)  # fmt: skip
def test_what_is_typed_is_folded(typed: str) -> None:
    assert codes.fold(typed) == "01ABCDEFGH12"


@pytest.mark.parametrize(
    "typed", ["", "   ", "ABC-123", "A" * 41, "ABCDEFGH!", "ABCD_EFGH", "ЖЖЖЖЖЖЖЖ", "é" * 9,
              "ABCDEFGH\ud800", "A-" * 150, "' OR 1=1 --"],
)  # fmt: skip
def test_what_can_be_no_code_is_none(typed: str) -> None:
    assert codes.fold(typed) is None


def test_the_proof_needs_the_servers_key(settings: object) -> None:
    before = codes.digest("ABCDEFGH")
    settings.SECRET_KEY = "another" * 10  # type: ignore[attr-defined]  # pytest-django's
    assert codes.digest("ABCDEFGH") != before
    assert len(before) == 64


@pytest.mark.parametrize(
    ("terms", "facts", "why"),
    [
        ({}, {}, None),
        ({}, {"terms": None}, Why.INVALID),
        ({}, {"banned": True}, Why.BANNED),
        ({}, {"banned": True, "terms": None}, Why.BANNED),
        ({"redeemed": 9}, {}, None),
        ({"redeemed": 10}, {}, Why.INVALID),
        ({"redeemed": 10}, {"this_code": 1, "this_offer": 1}, Why.ALREADY),
        ({"most": None, "redeemed": 10**9}, {}, None),
        ({"disabled": True}, {}, Why.INVALID),
        ({"valid_from": NOW + timedelta(seconds=1)}, {}, Why.INVALID),
        ({"valid_until": NOW}, {}, Why.INVALID),
        ({"valid_until": None}, {}, None),
        ({}, {"this_code": 1, "this_offer": 1}, Why.ALREADY),
        ({}, {"this_offer": 1}, Why.ALREADY),
        ({"disabled": True}, {"this_offer": 1}, Why.INVALID),
        ({"per_user": 2}, {"this_code": 1, "this_offer": 1}, None),
        ({"per_user": 2, "redeemed": 10}, {"this_code": 1, "this_offer": 1}, Why.ALREADY),
        ({"per_user": 2}, {"this_code": 2, "this_offer": 2}, Why.ALREADY),
        ({"first_users_only": True}, {}, None),
        ({"first_users_only": True}, {"used_before": True}, Why.NOT_NEW),
        ({"first_users_only": True, "redeemed": 10}, {"used_before": True}, Why.INVALID),
        ({"first_users_only": True, "per_user": 2},
         {"used_before": True, "this_code": 1, "this_offer": 1}, None),
    ],
)  # fmt: skip
def test_who_may_redeem_is_decided_in_order(
    terms: dict[str, object], facts: dict[str, object], why: Why | None
) -> None:
    known = replace(NEW, **({"terms": replace(OPEN, **terms)} | facts))  # type: ignore[arg-type]  # a table
    assert refusal(known, NOW) is why
