"""What the outside sees of the catalogue: endpoints, availability, reasons, the earliest return."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import orjson
import pytest

from bsod.lib.terms import Modality, Service
from proxy import showing
from proxy.catalogue import Catalogue, ModelInfo, OfferInfo, Traits
from proxy.hearsay import Rested
from proxy.pool import PoolKey, Snapshot
from proxy.providers.registry import ADAPTERS
from proxy.rules import classify
from proxy.showing import DIED, LIMITED, NOWHERE, UNPROVEN, UNREACHED, Look, State

pytestmark = pytest.mark.once
NOW, TODAY = 1_000.0, date(2026, 11, 22)
ONE, OTHER = 1, 2
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
COMPLETIONS = "/v1/completions"


def model(name: str = "m", *providers: int, shutdown: date | None = None) -> ModelInfo:
    offers = tuple(OfferInfo(provider, name) for provider in providers or (ONE,))
    return ModelInfo(name, classify(name), offers, "one", 5, shutdown)


def snapshot(
    keys: dict[int, list[int]],
    rests: Mapping[Any, Rested] | None = None,
    kinds: dict[int, str] | None = None,
    locks: dict[int, str] | None = None,
    models: tuple[ModelInfo, ...] = (),
) -> Snapshot:
    held = {
        provider: [PoolKey(n, provider, ADAPTERS["openai"], "http://h", "", "s") for n in numbers]
        for provider, numbers in keys.items()
    }
    slugs = {ONE: "one", OTHER: "other"}
    kinds = kinds or dict.fromkeys(slugs, "compatible")
    return Snapshot(1, Catalogue(models, slugs), slugs, held, rests or {}, kinds, locks or {})


def state(pool: Snapshot, what: ModelInfo | None = None, provider: int | None = None) -> State:
    return Look(pool, NOW, TODAY).model(what or model(), provider)


def until(seconds: float, reason: str = "rate_limit") -> Rested:
    return Rested(NOW + seconds, reason)


def probed(seconds: float | None, reason: str) -> Rested:
    return Rested(None, reason, None if seconds is None else NOW + seconds)


def test_a_model_with_a_live_key_can_be_had() -> None:
    assert state(snapshot({ONE: [1]})) == State()
    assert state(snapshot({ONE: [1, 2]}, {(None, 1, ""): probed(9, "auth")})).available


def test_a_provider_without_keys_has_died() -> None:
    assert state(snapshot({})) == State(DIED)
    assert DIED == "all api keys died"


@pytest.mark.parametrize(
    ("rests", "expected"),
    [
        ({(None, 1, ""): probed(9, "auth")}, State(DIED, NOW + 9)),
        ({(None, 1, ""): probed(None, "billing")}, State(DIED)),
        ({(None, 1, ""): probed(7, "failures")}, State(DIED, NOW + 7)),
        ({(None, 1, ""): probed(7, "new")}, State(UNPROVEN, NOW + 7)),
        ({(ONE, None, ""): probed(5, "unreachable")}, State(UNREACHED, NOW + 5)),
        ({(None, 1, "m"): until(30)}, State(LIMITED, NOW + 30)),
        ({(None, 1, "other"): until(30)}, State()),
        ({(None, 1, "m"): until(-1)}, State()),
        # A key is back when all that keeps it has ended.
        ({(None, 1, "m"): until(30), (None, 1, ""): probed(90, "auth")}, State(DIED, NOW + 90)),
    ],
)
def test_what_keeps_a_key_is_said_and_until_when(
    rests: Mapping[Any, Rested], expected: State
) -> None:
    assert state(snapshot({ONE: [1]}, rests)) == expected


def test_one_key_that_only_waits_for_a_limit_is_alive_and_the_first_to_return_counts() -> None:
    rests = {(None, 1, ""): probed(5, "auth"), (None, 2, "m"): until(30)}
    assert state(snapshot({ONE: [1, 2]}, rests)) == State(LIMITED, NOW + 5)


def test_a_model_of_two_providers_is_there_as_long_as_one_serves_it() -> None:
    both = model("m", ONE, OTHER)
    pool = snapshot({ONE: [1], OTHER: [2]}, {(None, 1, ""): probed(9, "auth")})
    assert state(pool, both).available
    assert state(pool, both, ONE) == State(DIED, NOW + 9)
    assert state(pool, both, OTHER).available
    none = snapshot({ONE: [1]}, {(None, 1, "m"): until(4)})
    assert state(none, both) == State(LIMITED, NOW + 4), "the one that returns says it"


def test_a_locked_provider_says_what_its_admin_says() -> None:
    pool = snapshot({ONE: [1], OTHER: [2]}, locks={ONE: "Out of money until Monday."})
    assert state(pool) == State("Out of money until Monday.")
    assert state(pool, model("m", ONE, OTHER)).available
    assert Look(pool, NOW, TODAY).provider(ONE).reason == "Out of money until Monday."


def test_a_model_whose_day_has_come_is_gone_with_that_day_as_its_reason() -> None:
    pool = snapshot({ONE: [1]})
    assert state(pool, model(shutdown=TODAY)) == State("shut down on 2026-11-22")
    assert state(pool, model(shutdown=date(2026, 11, 23))).available


def test_what_no_route_serves_cannot_be_had() -> None:
    pool = snapshot({ONE: [1]})
    for name in ("gpt-realtime", "rerank-v3"):
        assert showing.endpoints(pool, model(name)) == []
        assert state(pool, model(name)) == State(NOWHERE)


@pytest.mark.parametrize(
    ("kind", "name", "paths"),
    [
        ("openai", "gpt-6-sol", [CHAT, RESPONSES]),
        ("openai", "gpt-5.5-pro", [CHAT, RESPONSES]),  # chat by the bridge
        ("openai", "davinci-002", [COMPLETIONS]),
        ("openai", "gpt-4o-search-preview", [CHAT, RESPONSES]),
        ("compatible", "own-model", [CHAT, RESPONSES, COMPLETIONS]),
        ("anthropic", "claude-opus-5-5", [CHAT, RESPONSES]),
        ("local", "smollm2", [CHAT, RESPONSES, COMPLETIONS]),
        ("openai", "text-embedding-3-small", ["/v1/embeddings"]),
        ("openai", "omni-moderation-latest", ["/v1/moderations"]),
        ("openai", "gpt-image-2", ["/v1/images/generations", "/v1/images/edits"]),
        ("openai", "tts-1", ["/v1/audio/speech"]),
        ("openai", "whisper-1", ["/v1/audio/transcriptions", "/v1/audio/translations"]),
        ("openai", "sora-2", []),
        ("nobody-knows", "gpt-6-sol", []),
    ],
)
def test_a_model_is_asked_where_its_provider_and_its_kind_allow(
    kind: str, name: str, paths: list[str]
) -> None:
    found = showing.endpoints(snapshot({}, kinds={ONE: kind}), model(name))
    assert sorted(found) == sorted(paths)


def test_the_endpoints_are_known_of_a_provider_without_keys() -> None:
    assert CHAT in showing.shown(snapshot({}), model("gpt-6-sol"))["endpoints"]


def test_a_model_is_shown_as_openai_does_and_with_what_we_know() -> None:
    shown = showing.shown(snapshot({}), model("gpt-5.4", shutdown=date(2027, 1, 1)))
    assert {name: shown[name] for name in ("id", "object", "created", "owned_by")} == {
        "id": "gpt-5.4", "object": "model", "created": 5, "owned_by": "one",
    }  # fmt: skip
    assert shown["pricing"] == {
        "credits_per_1k_input": 84, "credits_per_1k_output": 500, "credits_per_call": 0,
    }  # fmt: skip
    assert (shown["context_window"], shown["max_output"]) == (1_050_000, 128_000)
    assert (shown["modality"], shown["tier"]) == ("text", "pro")
    assert shown["shutdown_date"] == "2027-01-01"


def test_what_changes_by_the_clock_is_known_beforehand() -> None:
    rests = {(None, 1, "m"): until(30), (None, 2, "m"): until(-5), (None, 3, ""): probed(1, "auth")}
    assert showing.changes_at(snapshot({ONE: [1]}, rests), NOW) == NOW + 30
    assert showing.changes_at(snapshot({ONE: [1]}), NOW) == float("inf")


def test_of_many_models_each_has_its_own_state() -> None:
    """What is found out of a provider once holds for its models, but not for those of which a key
    rests alone."""
    pool = snapshot({ONE: [1], OTHER: [2]}, {(None, 1, "b"): until(30)}, locks={OTHER: "Closed."})
    look = Look(pool, NOW, TODAY)
    states = [look.model(model(name, ONE)) for name in "abc"]
    assert states == [State(), State(LIMITED, NOW + 30), State()]
    assert look.model(model("a", OTHER)) == State("Closed.")
    assert look.model(model("b", ONE, OTHER)) == State(LIMITED, NOW + 30)


def test_a_models_json_is_put_together_from_its_parts() -> None:
    listed = (model("b"), model("a"))
    pool = snapshot({ONE: [1]}, models=listed)
    parts = showing.heads(pool)
    assert list(parts) == ["a", "b"]
    put = orjson.loads(showing.whole(parts["a"], showing.tail(showing.stated(State("why")))))
    assert put == {**showing.shown(pool, listed[1]), "available": False, "reason": "why"}


def test_what_a_model_speaks_can_be_narrowed() -> None:
    traits = Traits(Modality.TEXT, speaks=frozenset({Service.COMPLETIONS}))
    narrowed = ModelInfo("m", traits, (OfferInfo(ONE, "m"),))
    assert showing.endpoints(snapshot({}), narrowed) == [COMPLETIONS]
