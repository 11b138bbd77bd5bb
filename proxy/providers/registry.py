"""Every kind of provider, written out by hand, and the ones an environment variable brings."""

from typing import NamedTuple

from proxy.providers.base import Adapter
from proxy.providers.compatible import Compatible
from proxy.providers.local import Local
from proxy.providers.openai import OpenAI

ADAPTERS: dict[str, Adapter] = {
    adapter.kind: adapter for adapter in (OpenAI(), Compatible(), Local())
}


class Known(NamedTuple):
    """A provider that is there as soon as `<SLUG>_API_KEY` is set."""

    slug: str
    kind: str
    base_url: str


KNOWN = (
    Known("openai", "openai", "https://api.openai.com/v1"),
    Known("gemini", "compatible", "https://generativelanguage.googleapis.com/v1beta/openai"),
    Known("perplexity", "compatible", "https://api.perplexity.ai"),
    Known("anthropic", "compatible", "https://api.anthropic.com/v1"),
)
