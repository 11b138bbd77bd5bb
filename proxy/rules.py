"""What a model's id says of it: one table of rules, and the days on which models end.

A provider's list says little more than ids. The rules give modality, tier, endpoints, context
window, output limit and price; what a list says itself counts for more (`catalogue.describe`), and
an admin's word for most. Prices are written here as providers write them, in dollars for a
million tokens; a credit is three hundredths of a dollar's price of such a million, for 1000
tokens. What providers charge beside tokens (searches, caches, prompts beyond 200 000 tokens) is
not in them.
"""

import re
from datetime import date
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from bsod.lib.terms import Modality, Service, Shape, Tier

_CREDIT = 0.03  # dollars for a million tokens that one credit for 1000 stands for


class Traits(NamedTuple):
    """What is known of a model. The defaults are those of a model that nobody knows: a text
    model of the base tier, at the price of a middling one."""

    modality: Modality = Modality.TEXT
    tier: Tier = Tier.BASE
    context: int | None = 128_000
    output: int | None = 16_384
    price_in: int = 34
    price_out: int = 134
    per_call: int = 0
    speaks: frozenset[Service] | None = None
    """Which of the ways to ask for text it has; None: whatever its provider offers."""


def in_credits(dollars: float) -> int:
    """A price of a million tokens in credits for 1000 of them, rounded up: never below cost."""
    # Rounded first: 0.3 / 0.03 is ten credits and a little, by the nature of such numbers.
    return ceil(round(dollars / _CREDIT, 6))


K, M = 1_000, 1_000_000
K32, K128, K131, K200, K256, K262 = 32_768, 128_000, 131_072, 200_000, 256_000, 262_144
M1 = 1_048_576
NEW = 1_050_000  # what OpenAI gives its models since gpt-5.4
_BASE, _PRO, _TEXT = Tier.BASE, Tier.PRO, Modality.TEXT
_RESPONSES = frozenset({Service.RESPONSES})
_CHAT = frozenset({Service.CHAT})
_COMPLETIONS = frozenset({Service.COMPLETIONS})
_NOTHING: frozenset[Service] = frozenset()


def base(
    dollars_in: float, dollars_out: float, context: int = K131, output: int | None = 16_384,
    speaks: frozenset[Service] | None = None, tier: Tier = _BASE,
) -> Traits:  # fmt: skip
    """A text model of the base tier."""
    price = in_credits(dollars_in), in_credits(dollars_out)
    return Traits(_TEXT, tier, context, output, *price, 0, speaks)


def pro(
    dollars_in: float, dollars_out: float, context: int = K131, output: int | None = 16_384,
    speaks: frozenset[Service] | None = None,
) -> Traits:  # fmt: skip
    """A text model of the pro tier."""
    return base(dollars_in, dollars_out, context, output, speaks, _PRO)


def embedding(dollars: float, context: int = 8_192) -> Traits:
    return Traits(Modality.EMBEDDING, _BASE, context, None, in_credits(dollars), 0)


def media(modality: Modality, per_call: int, tier: Tier = _BASE) -> Traits:
    """What is paid for by the piece, at the prices a new installation begins with (SPEC §3)."""
    return Traits(modality, tier, None, None, 0, 0, per_call)


# First match wins; matched anywhere in the id in lower case, behind any `models/` or vendor prefix.
RULES: tuple[tuple[str, Traits], ...] = (
    # What is no text model. OpenAI's pricing page; ai.google.dev/gemini-api/docs/pricing.
    (r"embedding-3-large", embedding(0.13)),
    (r"embedding-3-small", embedding(0.02)),
    (r"gemini-embedding", embedding(0.20, 2_048)),
    (r"embed|\bbge-|\be5-|\bgte-", embedding(0.10)),
    (r"moderation", Traits(Modality.MODERATION, _BASE, K32, None, 0, 0)),
    (r"rerank|\bocr\b", base(1, 1, K32, None, _NOTHING)),
    (r"gpt-(audio|4o-audio|4o-mini-audio).*mini|gpt-4o-mini-audio",
     pro(0.60, 2.40, K128, 16_384, _CHAT)),
    (r"gpt-(4o-)?audio|gpt-4o.*audio", pro(2.50, 10, K128, 16_384, _CHAT)),
    (r"gpt-image|dall-e|imagen|-image|imagine|\bflux|stable-diffusion|\bsdxl|seedream|recraft",
     media(Modality.IMAGE, 4_000)),
    (r"sora-2-pro", media(Modality.VIDEO, 1_200_000, _PRO)),
    (r"\bsora|\bveo|seedance|\bkling|\bwan-?\d|hailuo|-video", media(Modality.VIDEO, 1_200_000)),
    (r"whisper|transcribe|\btts|-tts|speech|realtime|\blive\b|native-audio|audio",
     media(Modality.AUDIO, 600)),
    (r"smollm", base(0.03, 0.03, 2_048, 1_024)),
    # OpenAI: developers.openai.com/api/docs/pricing and /docs/models, read November 2026; the
    # open weights at what Groq and Together ask.
    (r"gpt-oss-20b", base(0.075, 0.30, K131, 65_536)),
    (r"gpt-oss", base(0.15, 0.60, K131, 65_536)),
    (r"codex-mini-latest", base(1.50, 6, K200, 100 * K, _RESPONSES)),
    (r"gpt-5.*codex-mini", base(0.25, 2, 400 * K, K128, _RESPONSES)),
    (r"gpt-5(\.1)?-codex", pro(1.25, 10, 400 * K, K128, _RESPONSES)),
    (r"codex", pro(1.75, 14, 400 * K, K128, _RESPONSES)),
    (r"gpt-6.*luna", base(0.10, 0.50, NEW, K128)),
    (r"gpt-6.*terra", base(1, 5, NEW, K128)),
    (r"gpt-6.*sol", pro(2, 10, NEW, K128)),
    (r"gpt-5\.6.*luna", base(0.20, 1.20, NEW, K128)),
    (r"gpt-5\.6.*terra", base(2, 12, NEW, K128)),
    (r"gpt-5\.6", pro(4, 20, NEW, K128)),
    (r"gpt-5\.[4-9].*-pro", pro(30, 180, NEW, K128, _RESPONSES)),
    (r"gpt-5\.[23].*-pro", pro(21, 168, 400 * K, K128, _RESPONSES)),
    (r"gpt-[5-9].*-pro", pro(15, 120, 400 * K, 272 * K, _RESPONSES)),
    (r"gpt-5\.4.*nano", base(0.20, 1.25, 400 * K, K128)),
    (r"gpt-5\.4.*mini", base(0.75, 4.50, 400 * K, K128)),
    (r"gpt-5.*nano", base(0.05, 0.40, 400 * K, K128)),
    (r"gpt-5.*mini", base(0.25, 2, 400 * K, K128)),
    (r"gpt-5\.5", pro(5, 30, NEW, K128)),
    (r"gpt-5\.4", pro(2.50, 15, NEW, K128)),
    (r"gpt-5\.[23].*chat", pro(1.75, 14, K128, 16_384)),
    (r"gpt-5.*chat", pro(1.25, 10, K128, 16_384)),
    (r"gpt-5\.[23]", pro(1.75, 14, 400 * K, K128)),
    (r"gpt-5(?!\.\d*[6-9])", pro(1.25, 10, 400 * K, K128)),
    (r"gpt-[5-9].*(nano|mini)", base(0.75, 4.50, 400 * K, K128)),
    (r"gpt-[5-9]", pro(10, 50, NEW, K128)),  # gpt-6-astra; what comes later is no dearer till known
    (r"gpt-4\.5", pro(75, 150, K128, 16_384)),
    (r"gpt-4\.1.*nano", base(0.10, 0.40, 1_047_576, 32_768)),
    (r"gpt-4\.1.*mini", base(0.40, 1.60, 1_047_576, 32_768)),
    (r"gpt-4\.1", pro(2, 8, 1_047_576, 32_768)),
    (r"gpt-4o-mini-search", base(0.15, 0.60, K128, 16_384, _CHAT)),
    (r"gpt-4o-search", pro(2.50, 10, K128, 16_384, _CHAT)),
    (r"gpt-4o-mini", base(0.15, 0.60, K128, 16_384)),
    (r"gpt-4o-2024-05-13|chatgpt-4o", pro(5, 15, K128, 16_384)),
    (r"gpt-4o", pro(2.50, 10, K128, 16_384)),
    (r"gpt-4-(turbo|1106|0125)", pro(10, 30, K128, 4_096)),
    (r"gpt-4-32k", pro(60, 120, K32, 8_192)),
    (r"gpt-4", pro(30, 60, 8_192, 8_192)),
    (r"gpt-3\.5-turbo-instruct", base(1.50, 2, 4_096, 4_096, _COMPLETIONS)),
    (r"gpt-3\.5", base(0.50, 1.50, 16_385, 4_096)),
    (r"\bbabbage", base(0.40, 0.40, 16_384, 16_384, _COMPLETIONS)),
    (r"\bdavinci", base(2, 2, 16_384, 16_384, _COMPLETIONS)),
    (r"computer-use", pro(3, 12, 8_192, 1_024, _RESPONSES)),
    (r"\bo4-mini-deep-research", pro(2, 8, K200, 100 * K, _RESPONSES)),
    (r"\bo3-deep-research", pro(10, 40, K200, 100 * K, _RESPONSES)),
    (r"\bo1-pro\b", pro(150, 600, K200, 100 * K, _RESPONSES)),
    (r"\bo3-pro\b", pro(20, 80, K200, 100 * K, _RESPONSES)),
    (r"\bo[134]\b.*mini", pro(1.10, 4.40, K200, 100 * K)),
    (r"\bo1\b", pro(15, 60, K200, 100 * K)),
    (r"\bo[34]\b", pro(2, 8, K200, 100 * K)),
    # Anthropic: platform.claude.com/docs/en/about-claude/pricing, November 2026.
    (r"claude.*fable", pro(10, 50, M, K128)),
    (r"claude.*opus-5[.-]5(?!\d)", pro(4, 20, M, K128)),
    (r"claude.*opus-(5|4[.-][6-9](?!\d))", pro(5, 25, M, K128)),
    (r"claude.*opus-4[.-]5(?!\d)", pro(5, 25, K200, 64 * K)),
    (r"claude.*opus", pro(15, 75, K200, 32_000)),
    (r"claude.*sonnet-5", pro(2, 10, M, K128)),
    (r"claude.*sonnet-4[.-]6(?!\d)", pro(3, 15, M, 64 * K)),
    (r"claude-3[.-]5-sonnet", pro(3, 15, K200, 8_192)),
    (r"claude.*haiku-5", base(0.10, 0.50, M, K128)),
    (r"claude-3-haiku", base(0.25, 1.25, K200, 4_096)),
    (r"claude-3[.-]5-haiku|claude-haiku-3[.-]5", base(0.80, 4, K200, 8_192)),
    (r"claude.*haiku", base(1, 5, K200, 64 * K)),
    (r"claude", pro(3, 15, K200, 64 * K)),
    # Gemini: ai.google.dev/gemini-api/docs/pricing, prompts up to 200 000 tokens, November 2026.
    # 3.6 to 3.8 flash are to cost the double from 2027-01-01; that is what is charged already.
    (r"gemini-2\.0-flash-lite", base(0.075, 0.30, M1, 8_192)),
    (r"gemini-2\.0-flash", base(0.10, 0.40, M1, 8_192)),
    (r"gemini-2\.5-flash-lite", base(0.10, 0.40, M1, 65_536)),
    (r"gemini-2\.5-flash", base(0.30, 2.50, M1, 65_536)),
    (r"gemini-2\.5", pro(1.25, 10, M1, 65_536)),
    (r"gemini-3\.[01]-flash-lite", base(0.25, 1.50, M1, 65_536)),
    (r"gemini.*flash-lite", base(0.30, 2.50, M1, 65_536)),
    (r"gemini-3(\.[01])?-flash", base(0.50, 3, M1, 65_536)),
    (r"gemini-3\.[6-9]-flash", base(1.50, 7.50, M1, 65_536)),
    (r"gemini.*flash", base(1.50, 9, M1, 65_536)),
    (r"gemini", pro(2, 12, M1, 65_536)),
    (r"gemma", base(0.10, 0.30, K131, 8_192)),
    # Perplexity: docs.perplexity.ai/getting-started/pricing. The fee of a search is not in it.
    (r"sonar-(reasoning|deep)", pro(2, 8, K128, 8_192)),
    (r"sonar-pro", pro(3, 15, K200, 8_192)),
    (r"sonar", base(1, 1, 127_072, 8_192)),
    # xAI: docs.x.ai/developers/models.
    (r"grok.*(code|build)", base(1, 2, K256, 65_536)),
    (r"grok-4[.-]?\d?-(fast|1-fast)", base(0.20, 0.50, 2 * M, 65_536)),
    (r"grok-3-mini", base(0.30, 0.50, K131, 16_384)),
    (r"grok-4[.-](3|20)(?!\d)", base(1.25, 2.50, M, 65_536)),
    (r"grok-4[.-][56](?!\d)", pro(2, 6, 500 * K, 65_536)),
    (r"grok", pro(3, 15, K131, 32_768)),
    # Open weights, at what their makers ask (api-docs.deepseek.com, platform.kimi.ai, docs.z.ai,
    # alibabacloud.com/help/model-studio, platform.minimax.io, mistral.ai/pricing), the others at
    # Together's and Groq's prices. DeepSeek's are those of its peak hours.
    (r"deepseek-v4-pro", base(0.87, 1.74, M, 384 * K)),
    (r"deepseek.*(v4|flash|chat|reasoner)", base(0.28, 1.12, M, 384 * K)),
    (r"deepseek-r1", base(0.55, 2.19, K128, 32_768)),
    (r"deepseek", base(0.27, 1.10, K128, 8_192)),
    (r"kimi-k3", pro(3, 15, M1, K131)),
    (r"kimi", base(0.60, 3, K262, 32_768)),
    (r"moonshot-v1", base(2, 5, K131, 16_384)),
    (r"glm-5[.-][2-9]", base(1.40, 4.40, M, K128)),
    (r"glm-5", base(1.40, 4.40, K200, K128)),
    (r"glm-4.*(air|flash)", base(0.20, 1.10, K128, 16_384)),
    (r"glm", base(0.60, 2.20, K128, 16_384)),
    (r"qwen.*max", pro(2.50, 7.50, K262, 32_768)),
    (r"qwen.*(plus|coder|397b|480b)", base(0.50, 3, K262, 32_768)),
    (r"qwen|qwq|qvq", base(0.30, 1.20, K131, 16_384)),
    (r"minimax-m3", base(0.60, 2.40, 512 * K, K128)),
    (r"minimax", base(0.30, 1.20, 204_800, K128)),
    (r"mistral-large-4", base(0.68, 2.09, M1, 32_768)),
    (r"mistral-large|pixtral-large|mixtral-8x22b", pro(2, 6, K128, 16_384)),
    (r"magistral-medium", base(2, 5, K128, 40 * K)),
    (r"mistral-medium|devstral-medium|devstral-2", base(0.40, 2, K131, 16_384)),
    (r"magistral", base(0.50, 2, K128, 40 * K)),
    (r"codestral", base(0.30, 0.90, K256, 16_384)),
    (r"ministral|mistral-nemo|mistral-7b", base(0.25, 0.25, K32, 8_192)),
    (r"mixtral", base(0.70, 0.70, K32, 8_192)),
    (r"mistral|devstral|pixtral|voxtral", base(0.20, 0.60, K128, 16_384)),
    (r"llama-4-maverick", base(0.27, 0.85, M1, 16_384)),
    (r"llama-4", base(0.18, 0.59, 327_680, 16_384)),
    (r"llama.*405b", base(3.50, 3.50, K128, 16_384)),
    (r"llama.*\b(1|3|7|8)b", base(0.18, 0.18, K128, 8_192)),
    (r"llama", base(0.88, 0.88, K128, 16_384)),
    (r"command-(a|r-plus)", base(2.50, 10, K128, 8_192)),
    (r"command-r", base(0.15, 0.60, K128, 4_096)),
    (r"nova-(lite|micro)", base(0.06, 0.24, 300 * K, 10_000)),
    (r"nova-pro", base(0.80, 3.20, 300 * K, 10_000)),
)  # fmt: skip
_RULES = tuple((re.compile(rule), traits) for rule, traits in RULES)

# Of all that text is asked with, what a model of sounds can do goes by its name.
_SOUNDS = (
    (re.compile(r"realtime|\blive\b|native-audio"), frozenset[Shape]()),
    (re.compile(r"whisper|transcribe"), frozenset({Shape.TRANSCRIPTION})),
    (re.compile(r"tts|speech"), frozenset({Shape.SPEECH})),
)


def short(name: str) -> str:
    """An id in lower case, without a vendor's prefix."""
    return name.lower().rpartition("/")[2]


def ruled(name: str) -> Traits | None:
    """What the rules say of a model id; None: they do not know it."""
    found = next((traits for rule, traits in _RULES if rule.search(short(name))), None)
    if found and found.speaks and _resold(name):
        # Who sells another's models under his vendor's name serves them in a way of his own.
        return found._replace(speaks=None)
    return found


def _resold(name: str) -> bool:
    return "/" in name.removeprefix("models/")


@lru_cache(maxsize=8192)
def classify(name: str) -> Traits:
    """What the rules say of a model id, or what is assumed of one they do not know."""
    return ruled(name) or Traits()


def sounds(name: str) -> frozenset[Shape] | None:
    """Which calls a model of sounds is for; None: its name does not say."""
    return next((shapes for rule, shapes in _SOUNDS if rule.search(short(name))), None)


def _dated(year: int, month: int, day: int, names: str) -> dict[str, date]:
    return dict.fromkeys(names.split(), date(year, month, day))


# The days from which providers do not serve a model any more, for lists that do not tell them.
# developers.openai.com/api/docs/deprecations and the `shutdown_date` of OpenAI's own list, October
# 2026; platform.claude.com/docs/en/about-claude/model-deprecations. Google names only the earliest
# day on which a model may end, which is no day to stop at. Others go on with the same models.
RETIRED: dict[str, dict[str, date]] = {
    "openai": {
        **_dated(2026, 1, 16, "codex-mini-latest"),
        **_dated(2026, 2, 17, "chatgpt-4o-latest"),
        **_dated(2026, 5, 12, "dall-e-2 dall-e-3"),
        **_dated(2026, 9, 24, "sora-2 sora-2-pro"),
        **_dated(2026, 10, 23, """gpt-3.5-turbo gpt-4 gpt-4-1106-preview gpt-4-turbo o1 o1-pro
            gpt-4o-2024-05-13 o3-mini o4-mini gpt-4.1-nano gpt-image-1"""),
        **_dated(2026, 12, 1, "gpt-image-1-mini gpt-image-1.5 chatgpt-image-latest"),
        **_dated(2026, 12, 11, "gpt-5 gpt-5-mini gpt-5-nano gpt-5-pro o3 o3-pro"),
        **_dated(2027, 1, 6, "tts-1 tts-1-hd gpt-4o-mini-tts"),
        **_dated(2027, 1, 14, "gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini"),
        **_dated(2027, 1, 20, "gpt-realtime gpt-4o-realtime-preview gpt-audio"),
        **_dated(2027, 2, 26, """whisper-1 gpt-4o-transcribe gpt-4o-mini-transcribe
            gpt-4o-transcribe-diarize"""),
        **_dated(2027, 4, 1, "gpt-5.1 gpt-5.3-codex gpt-5.4-nano"),
    },
    "anthropic": {
        **_dated(2026, 1, 5, "claude-3-opus"),
        **_dated(2026, 2, 19, "claude-3-7-sonnet"),
        **_dated(2026, 6, 15, "claude-opus-4 claude-sonnet-4"),
    },
}  # fmt: skip
_SNAPSHOT = re.compile(r"-(\d{4}-?\d\d-?\d\d|\d{4}|latest)$")


def retires(kind: str, name: str) -> date | None:
    """The day a provider of this kind stops serving a model, as far as it is known here.

    A dated snapshot ends with the model it is one of, unless it has a day of its own.
    """
    known = RETIRED.get(kind, {})
    return known.get(name) or known.get(_SNAPSHOT.sub("", name))
