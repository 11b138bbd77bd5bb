"""Every kind of provider, written out by hand, and the ones an environment variable brings."""

from typing import NamedTuple

from proxy.providers.anthropic.adapter import Anthropic
from proxy.providers.base import Adapter
from proxy.providers.bridging.adapter import Bridged
from proxy.providers.compatible import Compatible
from proxy.providers.gemini import Gemini
from proxy.providers.local import Local
from proxy.providers.openai import OpenAI
from proxy.providers.perplexity import Perplexity

ADAPTERS: dict[str, Adapter] = {
    adapter.kind: Bridged(adapter)
    for adapter in (
        OpenAI(),
        Gemini(),
        Perplexity(),
        Anthropic(),
        Compatible(),
        Local(),
    )
}


class Known(NamedTuple):
    """A provider that is there as soon as `<SLUG>_API_KEY` is set."""

    slug: str
    kind: str
    base_url: str


KNOWN = (
    Known("openai", "openai", "https://api.openai.com/v1"),
    Known("gemini", "gemini", "https://generativelanguage.googleapis.com/v1beta/openai"),
    Known("perplexity", "perplexity", "https://api.perplexity.ai"),
    Known("anthropic", "anthropic", "https://api.anthropic.com/v1"),
)
