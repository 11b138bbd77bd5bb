"""The bundled small language model, served on loopback beside the gateway."""

from proxy.providers.openai_shape import OpenAIShape


class Local(OpenAIShape):
    kind = "local"
