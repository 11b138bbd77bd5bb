"""OpenAI itself: the shape at its origin."""

from bsod.lib.terms import Service
from proxy.providers.openai_shape import OpenAIShape

_RETIRED = {Service.ASSISTANTS, Service.THREADS, Service.VIDEOS, Service.IMAGE_VARIATIONS}


class OpenAI(OpenAIShape):
    kind = "openai"
    offers = frozenset(Service) - _RETIRED
    # Its current models refuse `max_tokens`; every one takes this spelling.
    limit_field = "max_completion_tokens"
