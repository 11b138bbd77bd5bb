"""Donated keys in the pool: their donors' models, their caps, and nothing that is kept."""

from dataclasses import replace

import pytest

from accounts.keys.tokens import Token
from bsod.lib.terms import Shape
from proxy.gateway.journey import Call, Caller
from proxy.objects import Wanted
from proxy.pool import Lease, NoKey, Pool
from proxy.routes import ROUTES
from tests.proxy.pools import ALICE, BOB, NOW, lease, model, nobody, pool

pytestmark = pytest.mark.once


def donated(made: Pool, number: int, **terms: object) -> Pool:
    """The same pool, one of its keys a donor's."""
    keys = {
        provider: [
            replace(key, donated=True, **terms) if key.id == number else key  # type: ignore[arg-type]  # its own fields
            for key in known
        ]
        for provider, known in made.snapshot.keys.items()
    }
    made.snapshot = replace(made.snapshot, keys=keys)
    return made


def stored(made: Pool, account: int = ALICE) -> Lease | NoKey:
    return made.lease(model(1), account, (), NOW, stored=True)


def test_what_is_stored_goes_to_the_operators_own_key() -> None:
    made = donated(pool({1: [1, 2]}), 1)
    assert [lease(made, account).key.id for account in (ALICE, BOB)] == [1, 2]
    for account in (ALICE, BOB, 3):
        found = stored(made, account)
        assert isinstance(found, Lease)
        assert found.key.id == 2


def test_with_donated_keys_alone_it_is_said_that_nothing_is_stored_there() -> None:
    made = donated(pool({1: [1]}), 1)
    found = stored(made)
    assert isinstance(found, NoKey)
    assert found.donated
    pinned = made.lease(model(1), ALICE, (), NOW, pinned=1)
    assert isinstance(pinned, NoKey)
    assert pinned.donated
    assert isinstance(stored(donated(made, 1, trusted=True)), Lease)


def test_an_operator_looks_at_no_donors_account() -> None:
    made = donated(pool({1: [1, 2]}), 1)
    assert made.oldest([1], NOW) == 2
    assert made.awake(1, NOW, stored=True)
    assert not donated(made, 2).awake(1, NOW, stored=True)


def test_a_key_serves_the_models_of_its_list_only() -> None:
    made = donated(pool({1: [1]}), 1, models=frozenset({"m"}))
    assert lease(made).key.id == 1
    assert not nobody(made, what=model(1, name="other")).exists
    assert not made.available(model(1, name=""), NOW)


def test_a_spent_key_is_back_when_the_day_ends_or_its_cap_is_another() -> None:
    made = donated(pool({1: [1]}), 1, cap=5)
    key = lease(made).key
    made.spend(key, 60, NOW)
    assert nobody(made).wait == 60
    assert lease(made, now=NOW + 61).key.id == 1
    assert lease(donated(made, 1, cap=6)).key.id == 1
    assert nobody(donated(made, 1, cap=5)).exists


STATELESS = {
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations",
    "/v1/responses", "/v1/responses/input_tokens",
    "/v1/images/generations", "/v1/images/edits", "/v1/images/variations",
    "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations",
    "/v1/fine_tuning/alpha/graders/run", "/v1/fine_tuning/alpha/graders/validate",
}  # fmt: skip
"""Rows that a donor's account may serve: chats and responses as far as they are not to be kept."""


def test_rows_that_make_or_name_an_object_are_stateful() -> None:
    caller = Caller(Token("", ""), "")
    asked_in_the_body = {Shape.CHAT, Shape.RESPONSE}
    found = set()
    for route in ROUTES:
        named = (Wanted("x", route.owns, "x"),) if route.owns else ()
        stored = route.creates is not None and route.shape not in asked_in_the_body
        call = Call("1", route, caller, 0.0, wanted=named, stored=stored)
        if route.service and not call.stateful:
            found.add(route.path)
    assert found == STATELESS
