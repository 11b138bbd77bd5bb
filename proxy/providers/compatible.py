"""Any server that speaks OpenAI's shape under its own base URL: vLLM, Groq, Mistral, Ollama…"""

from proxy.providers.openai_shape import OpenAIShape


class Compatible(OpenAIShape):
    kind = "compatible"
