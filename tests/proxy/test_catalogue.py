"""What a model's id says of it, and how a name that was asked for finds a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.terms import Modality, Tier
from proxy.catalogue import (
    UNKNOWN,
    Ambiguous,
    Catalogue,
    ModelInfo,
    OfferInfo,
    Traits,
    classify,
    fold,
)

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
    assert found.traits == UNKNOWN
    assert found.pro
    listed = catalogue.find("GPT-5.4")
    assert listed is not None
    assert listed.offers == (OfferInfo(OPENAI, "gpt-5.4"),)


def test_a_catch_all_does_not_settle_what_is_ambiguous() -> None:
    two = Catalogue([model("a-1"), model("a.1")], SLUGS).catch_all([CLAUDE])
    with pytest.raises(Ambiguous):
        two.find("a1")


def test_an_unlisted_model_costs_as_much_as_the_dearest() -> None:
    dear = Traits(price_in=9_000, price_out=7)
    image = Traits(Modality.IMAGE, price_in=10**6)
    found = Catalogue([model("d", traits=dear), model("i", traits=image)], SLUGS)
    unlisted = found.catch_all([CLAUDE]).find("who-knows")
    assert unlisted is not None
    assert (unlisted.traits.price_in, unlisted.traits.price_out) == (9_000, UNKNOWN.price_out)


@given(st.text(max_size=30))
def test_folding_is_stable_and_finding_never_breaks(name: str) -> None:
    assert fold(fold(name)) == fold(name) or name.lower().lower() != name.lower()
    Catalogue([model("gpt-5.4")], SLUGS).find(name)


@pytest.mark.parametrize(
    ("name", "modality", "tier"),
    [
        ("gpt-5.4", Modality.TEXT, Tier.PRO),
        ("gpt-5.4-mini", Modality.TEXT, Tier.BASE),
        ("gpt-5-nano-2026-01-01", Modality.TEXT, Tier.BASE),
        ("gpt-5.2-pro", Modality.TEXT, Tier.PRO),
        ("gpt-4o", Modality.TEXT, Tier.PRO),
        ("gpt-4o-mini", Modality.TEXT, Tier.BASE),
        ("gpt-4.1-nano", Modality.TEXT, Tier.BASE),
        ("o3", Modality.TEXT, Tier.PRO),
        ("o4-mini-2025-04-16", Modality.TEXT, Tier.PRO),
        ("openai/o1", Modality.TEXT, Tier.PRO),
        ("foo3-large", Modality.TEXT, Tier.BASE),
        ("solo1", Modality.TEXT, Tier.BASE),
        ("falco3-mini", Modality.TEXT, Tier.BASE),
        ("claude-haiku-4-5", Modality.TEXT, Tier.BASE),
        ("claude-opus-4-5", Modality.TEXT, Tier.PRO),
        ("anthropic/claude-sonnet-4.6", Modality.TEXT, Tier.PRO),
        ("models/gemini-2.5-flash-lite", Modality.TEXT, Tier.BASE),
        ("gemini-2.5-pro", Modality.TEXT, Tier.PRO),
        ("gemini-2.5-flash-image", Modality.IMAGE, Tier.BASE),
        ("sonar", Modality.TEXT, Tier.BASE),
        ("sonar-reasoning-pro", Modality.TEXT, Tier.PRO),
        ("text-embedding-3-large", Modality.EMBEDDING, Tier.BASE),
        ("omni-moderation-latest", Modality.MODERATION, Tier.BASE),
        ("gpt-image-1.5", Modality.IMAGE, Tier.BASE),
        ("dall-e-3", Modality.IMAGE, Tier.BASE),
        ("sora-2", Modality.VIDEO, Tier.BASE),
        ("sora-2-pro", Modality.VIDEO, Tier.PRO),
        ("veo-3", Modality.VIDEO, Tier.BASE),
        ("whisper-1", Modality.AUDIO, Tier.BASE),
        ("gpt-4o-transcribe", Modality.AUDIO, Tier.BASE),
        ("gpt-realtime", Modality.AUDIO, Tier.BASE),
        ("smollm2-135m-instruct", Modality.TEXT, Tier.BASE),
        ("llama-3.3-70b", Modality.TEXT, Tier.BASE),
    ],
)
def test_an_id_says_what_a_model_is(name: str, modality: Modality, tier: Tier) -> None:
    traits = classify(name)
    assert (traits.modality, traits.tier) == (modality, tier)
    assert classify(name.upper()) == traits
