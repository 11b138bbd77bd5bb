"""What a model's id says of it: the rules, their prices, and the days on which models end."""

from datetime import date

import pytest

from bsod.lib.terms import Modality, Service, Shape, Tier
from proxy.rules import RETIRED, Traits, classify, in_credits, retires, ruled, sounds

pytestmark = pytest.mark.once
RESPONSES, CHAT, COMPLETIONS = {Service.RESPONSES}, {Service.CHAT}, {Service.COMPLETIONS}


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


@pytest.mark.parametrize(
    ("name", "dollars", "context", "output"),
    [
        ("gpt-6-astra", (10, 50), 1_050_000, 128_000),
        ("gpt-6.1-sol", (2, 10), 1_050_000, 128_000),
        ("gpt-6-luna", (0.10, 0.50), 1_050_000, 128_000),
        ("gpt-5.6-terra", (2, 12), 1_050_000, 128_000),
        ("gpt-5.5-pro-2026-04-23", (30, 180), 1_050_000, 128_000),
        ("gpt-5.4", (2.50, 15), 1_050_000, 128_000),
        ("gpt-5-nano", (0.05, 0.40), 400_000, 128_000),
        ("gpt-4.1", (2, 8), 1_047_576, 32_768),
        ("gpt-4o-mini-2024-07-18", (0.15, 0.60), 128_000, 16_384),
        ("o3-2025-04-16", (2, 8), 200_000, 100_000),
        ("claude-opus-5-5", (4, 20), 1_000_000, 128_000),
        ("claude-opus-5-20260724", (5, 25), 1_000_000, 128_000),
        ("claude-opus-4-8", (5, 25), 1_000_000, 128_000),
        ("claude-opus-4-1-20250805", (15, 75), 200_000, 32_000),
        ("anthropic/claude-sonnet-5.5", (2, 10), 1_000_000, 128_000),
        ("claude-sonnet-4-5-20250929", (3, 15), 200_000, 64_000),
        ("claude-haiku-4-5", (1, 5), 200_000, 64_000),
        ("models/gemini-3.1-pro-preview", (2, 12), 1_048_576, 65_536),
        ("gemini-3.5-flash-lite", (0.30, 2.50), 1_048_576, 65_536),
        ("gemini-2.5-pro", (1.25, 10), 1_048_576, 65_536),
        ("sonar-reasoning-pro", (2, 8), 128_000, 8_192),
        ("grok-4.6", (2, 6), 500_000, 65_536),
        ("deepseek/deepseek-v4-pro", (0.87, 1.74), 1_000_000, 384_000),
        ("moonshotai/kimi-k3", (3, 15), 1_048_576, 131_072),
        ("zai-org/GLM-5.2-FP8", (1.40, 4.40), 1_000_000, 128_000),
        ("qwen3.8-max", (2.50, 7.50), 262_144, 32_768),
        ("mistral-large-latest", (2, 6), 128_000, 16_384),
        ("meta-llama/Llama-3.3-70B-Instruct", (0.88, 0.88), 128_000, 16_384),
        ("text-embedding-3-large", (0.13, 0), 8_192, None),
    ],
)
def test_current_models_have_their_price_and_their_window(
    name: str, dollars: tuple[float, float], context: int, output: int | None
) -> None:
    traits = classify(name)
    assert (traits.price_in, traits.price_out) == (in_credits(dollars[0]), in_credits(dollars[1]))
    assert (traits.context, traits.output) == (context, output)


@pytest.mark.parametrize(
    ("dollars", "price"),
    [(0, 0), (0.001, 1), (0.03, 1), (0.3, 10), (1, 34), (1.25, 42), (3, 100), (10, 334), (15, 500)],
)
def test_a_price_is_a_thirtieth_of_its_dollars_and_never_below_them(
    dollars: float, price: int
) -> None:
    assert in_credits(dollars) == price


@pytest.mark.parametrize(
    ("name", "speaks"),
    [
        ("gpt-5-pro", RESPONSES),
        ("gpt-5.5-pro", RESPONSES),
        ("o3-pro-2025-06-10", RESPONSES),
        ("o1-pro", RESPONSES),
        ("gpt-5.3-codex", RESPONSES),
        ("codex-mini-latest", RESPONSES),
        ("o4-mini-deep-research", RESPONSES),
        ("computer-use-preview", RESPONSES),
        ("gpt-4o-search-preview", CHAT),
        ("gpt-audio", CHAT),
        ("gpt-4o-audio-preview", CHAT),
        ("davinci-002", COMPLETIONS),
        ("babbage-002", COMPLETIONS),
        ("gpt-3.5-turbo-instruct-0914", COMPLETIONS),
        ("rerank-v3.5", set()),
        ("gpt-3.5-turbo", None),
        ("gpt-6-sol", None),
        ("gemini-3.1-pro-preview", None),
        ("sonar-pro", None),
        ("who-knows", None),
        # Who resells a model under its maker's name has a way of his own to serve it.
        ("openai/gpt-5-pro", None),
        ("openai/gpt-5.3-codex", None),
        ("models/gpt-5-pro", RESPONSES),
    ],
)
def test_some_models_can_be_asked_in_one_way_only(name: str, speaks: set[Service] | None) -> None:
    assert classify(name).speaks == speaks


def test_a_model_nobody_knows_is_a_base_text_model_that_is_not_cheap() -> None:
    assert ruled("who-knows-7") is None
    unknown = classify("who-knows-7")
    assert unknown == Traits()
    assert (unknown.modality, unknown.tier, unknown.speaks) == (Modality.TEXT, Tier.BASE, None)
    assert unknown.price_in >= in_credits(1)


@pytest.mark.parametrize(
    ("kind", "name", "day"),
    [
        ("openai", "gpt-5", date(2026, 12, 11)),
        ("openai", "gpt-5-2025-08-07", date(2026, 12, 11)),
        ("openai", "gpt-4o", date(2027, 1, 14)),
        ("openai", "gpt-4o-2024-05-13", date(2026, 10, 23)),
        ("openai", "gpt-3.5-turbo-0125", date(2026, 10, 23)),
        ("openai", "sora-2", date(2026, 9, 24)),
        ("openai", "gpt-5-chat-latest", None),
        ("openai", "gpt-6-sol", None),
        ("openai", "claude-opus-4", None),
        ("compatible", "gpt-5", None),
        ("anthropic", "claude-opus-4-20250514", date(2026, 6, 15)),
        ("anthropic", "claude-opus-4-1-20250805", None),
    ],
)
def test_the_days_on_which_models_end_are_those_of_their_provider(
    kind: str, name: str, day: date | None
) -> None:
    assert retires(kind, name) == day


def test_every_model_that_ends_is_one_the_rules_know() -> None:
    assert [name for known in RETIRED.values() for name in known if ruled(name) is None] == []


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("whisper-1", {Shape.TRANSCRIPTION}),
        ("gpt-4o-mini-transcribe", {Shape.TRANSCRIPTION}),
        ("gpt-4o-mini-tts", {Shape.SPEECH}),
        ("gpt-realtime", set()),
        ("some-audio-model", None),
    ],
)
def test_a_model_of_sounds_hears_or_speaks(name: str, shapes: set[Shape] | None) -> None:
    assert classify(name).modality is Modality.AUDIO
    assert sounds(name) == shapes
