"""How a name that was asked for finds a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.terms import Modality
from proxy.catalogue import UNKNOWN, Ambiguous, Catalogue, ModelInfo, OfferInfo, Traits, fold
from proxy.rules import RULES

OPENAI, CLAUDE, GEMINI = 1, 2, 3
SLUGS = {OPENAI: "openai", CLAUDE: "anthropic", GEMINI: "gemini"}


def model(name: str, *offers: OfferInfo, traits: Traits = Traits()) -> ModelInfo:  # noqa: B008  # a frozen value
    return ModelInfo(name, traits, offers or (OfferInfo(OPENAI, name),))


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(
        [
            model("gpt-5.4"),
            model("gpt-5.4-mini"),
            model("claude-sonnet-4.6", OfferInfo(CLAUDE, "claude-sonnet-4-6-20260101")),
            model("gemini-2.5-flash", OfferInfo(GEMINI, "models/gemini-2.5-flash")),
            model("meta-llama/Llama-3.3-70B"),
            model("meta-llama-3.370B"),
        ],
        SLUGS,
    )


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("gpt-5.4", "gpt-5.4"),
        ("GPT-5.4", "gpt-5.4"),
        ("gpt 5 4", "gpt-5.4"),
        ("gpt_5.4.", "gpt-5.4"),
        ("gpt54mini", "gpt-5.4-mini"),
        ("openai/gpt-5.4", "gpt-5.4"),
        ("openai-gpt-54", "gpt-5.4"),
        ("anthropic-claude-sonnet-46", "claude-sonnet-4.6"),
        ("anthropic/claude-sonnet-4.6", "claude-sonnet-4.6"),
        ("claude-sonnet-4-6-20260101", "claude-sonnet-4.6"),
        ("anthropic/claude-sonnet-4-6-20260101", "claude-sonnet-4.6"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini/gemini-2.5-flash", "gemini-2.5-flash"),
        ("meta-llama/Llama-3.3-70B", "meta-llama/Llama-3.3-70B"),
        ("meta-llama-3.370B", "meta-llama-3.370B"),
    ],
)
def test_a_name_finds_its_model(catalogue: Catalogue, asked: str, found: str) -> None:
    result = catalogue.find(asked)
    assert result is not None
    assert result.name == found


@pytest.mark.parametrize(
    "asked", ["gpt-5", "gpt-5.4x", "gemini/gpt-5.4", "", "-", "sonnet", "ｇpt-5.4"]
)
def test_a_name_that_is_only_similar_finds_nothing(catalogue: Catalogue, asked: str) -> None:
    assert catalogue.find(asked) is None


def test_an_ambiguous_name_names_both(catalogue: Catalogue) -> None:
    two = Catalogue([model("llama-3.1"), model("llama-31"), model("x")], SLUGS)
    with pytest.raises(Ambiguous) as caught:
        two.find("LLAMA 31")
    assert caught.value.names == ["llama-3.1", "llama-31"]
    assert two.find("llama-31") is not None, "an exact name is never ambiguous"


def test_one_model_of_two_providers_is_not_ambiguous() -> None:
    shared = model("m-1", OfferInfo(OPENAI, "m-1"), OfferInfo(CLAUDE, "m_1"))
    found = Catalogue([shared], SLUGS).find("M1")
    assert found is shared


def test_a_catch_all_takes_what_nobody_lists_and_nothing_else(catalogue: Catalogue) -> None:
    catalogue.catch_all([CLAUDE, GEMINI])
    found = catalogue.find("who-knows-1")
    assert found is not None
    assert found.name == "who-knows-1"
    assert found.offers == (OfferInfo(CLAUDE, "who-knows-1"), OfferInfo(GEMINI, "who-knows-1"))
    assert found.pro
    for _, ruled in RULES:
        if ruled.modality is Modality.TEXT:
            assert found.traits.price_in >= max(ruled.price_in, UNKNOWN.price_in)
            assert found.traits.price_out >= max(ruled.price_out, UNKNOWN.price_out)
    listed = catalogue.find("GPT-5.4")
    assert listed is not None
    assert listed.offers == (OfferInfo(OPENAI, "gpt-5.4"),)


def test_a_catch_all_does_not_settle_what_is_ambiguous() -> None:
    two = Catalogue([model("a-1"), model("a.1")], SLUGS).catch_all([CLAUDE])
    with pytest.raises(Ambiguous):
        two.find("a1")


def test_an_unlisted_model_costs_as_much_as_the_dearest() -> None:
    dear = Traits(price_in=90_000, price_out=7)
    image = Traits(Modality.IMAGE, price_in=10**6)
    found = Catalogue([model("d", traits=dear), model("i", traits=image)], SLUGS)
    unlisted = found.catch_all([CLAUDE]).find("who-knows")
    assert unlisted is not None
    dearest = max(ruled.price_out for _, ruled in RULES)
    assert (unlisted.traits.price_in, unlisted.traits.price_out) == (90_000, dearest)


@given(st.text(max_size=30))
def test_folding_is_stable_and_finding_never_breaks(name: str) -> None:
    assert fold(fold(name)) == fold(name) or name.lower().lower() != name.lower()
    Catalogue([model("gpt-5.4")], SLUGS).find(name)


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("gpt-5.4-mimi", ["gpt-5.4-mini", "gpt-5.4"]),
        ("GPT 5.4 turbo", ["gpt-5.4", "gpt-5.4-mini"]),
        ("claude-sonnet-4", ["claude-sonnet-4.6"]),
        ("openai/gpt-5.5", ["gpt-5.4", "gpt-5.4-mini"]),
        ("gemini-3", ["gemini-2.5-flash"]),
        ("whisper-1", []),
        ("gpt", []),
        ("", []),
    ],
)
def test_near_names_are_those_that_begin_alike(
    catalogue: Catalogue, asked: str, near: list[str]
) -> None:
    assert catalogue.near(asked) == near


@given(st.text(max_size=30))
def test_nothing_is_near_that_is_not_there(name: str) -> None:
    models = [model("gpt-5.4"), model("claude-x"), model("z")]
    assert set(Catalogue(models, SLUGS).near(name)) <= {"gpt-5.4", "claude-x", "z"}
    assert Catalogue([], {}).near(name) == []
