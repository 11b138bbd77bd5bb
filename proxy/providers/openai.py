"""OpenAI itself: the shape at its origin."""

from proxy.providers.openai_shape import OpenAIShape


class OpenAI(OpenAIShape):
    kind = "openai"
    # Its current models refuse `max_tokens`; every one takes this spelling.
    limit_field = "max_completion_tokens"
