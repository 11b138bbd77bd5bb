"""What Gemini's native requests have in common, and its embeddings.

Its OpenAI-compatible surface lies below `/openai`; everything native lies beside that, wants the
key in a header of its own, and names the model in the path. So a name is checked here: one that
came from a client must lead nowhere else.
"""

import base64
import re
import struct
from typing import Any

import orjson

from proxy.providers import tokens
from proxy.providers.base import Asked, Malformed, Outbound, Refused, Usage
from proxy.providers.outbound import headers
from proxy.providers.reading import counts, object_of, written
from proxy.providers.whole import EmbeddingWhole

VERSION = "/v1beta"
SURFACE = "/openai"  # what a base URL ends in, and native paths do not have
MOST_TEXTS = 100  # of one batch of embeddings
_MODEL = re.compile(r"(?:models/)?([A-Za-z0-9][A-Za-z0-9._-]{0,99})", re.ASCII)
_EXTRAS = {"task_type": "taskType", "title": "title"}


def model_of(asked: Asked) -> str:
    """The model's bare id. Raises Refused."""
    found = _MODEL.fullmatch(asked.upstream_model)
    if not found:
        raise Refused("model", "'model' must be the id of a model; see GET /v1/models.")
    return found[1]


def native(asked: Asked, secret: str, target: str, body: Any = None) -> Outbound:
    """A request beside the compatible surface: a POST with a body, else a GET."""
    kind = "application/json" if body is not None else ""
    sent = headers(asked, kind, secret)
    sent.pop("authorization")
    sent["x-goog-api-key"] = secret
    data = b"" if body is None else orjson.dumps(body)
    return Outbound("GET" if body is None else "POST", target, sent, data, leaves=SURFACE)


def embeddings(asked: Asked, secret: str) -> Outbound:
    """Raises Refused."""
    body, model = asked.body, model_of(asked)
    texts = body.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or set(map(type, texts)) != {str}:
        raise Refused("input", "Gemini embeds texts: 'input' must be a text, or a list of texts.")
    if len(texts) > MOST_TEXTS:
        raise Refused("input", f"Gemini embeds up to {MOST_TEXTS} texts a call: send fewer.")
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise Refused("encoding_format", "'encoding_format' must be 'float' or 'base64'.")
    more = {theirs: body[ours] for ours, theirs in _EXTRAS.items() if body.get(ours) is not None}
    if body.get("dimensions") is not None:
        more["outputDimensionality"] = body["dimensions"]
    requests = [
        {"model": f"models/{model}", "content": {"parts": [{"text": text}]}, **more}
        for text in texts
    ]
    return native(asked, secret, f"/models/{model}:batchEmbedContents", {"requests": requests})


class Vectors(EmbeddingWhole):
    """Embeddings, as OpenAI writes them: `base64` is little-endian float32."""

    def whole(self, data: bytes) -> None:
        reply = object_of(data)
        rows = reply.get("embeddings")
        if not isinstance(rows, list) or not rows:
            raise Malformed("the reply has no embeddings")
        packed = self.asked.body.get("encoding_format") == "base64"
        vectors = [
            {"object": "embedding", "index": place, "embedding": _vector(row, packed)}
            for place, row in enumerate(rows)
        ]
        used = reply.get("usageMetadata")
        stated = used.get("promptTokenCount") if isinstance(used, dict) else None
        count = stated if counts(stated) and stated else None
        told = count or tokens.of_prompt(self.asked.shape, self.asked.body)
        usage = {"prompt_tokens": told, "total_tokens": told}
        model = self.asked.model or self.asked.upstream_model
        super().whole(written({"object": "list", "data": vectors, "model": model, "usage": usage}))
        # What was only estimated is charged as an estimate.
        self.usage = Usage(count, 0) if count else None


def _vector(row: Any, packed: bool) -> Any:
    values = row.get("values") if isinstance(row, dict) else None
    if not isinstance(values, list) or not set(map(type, values)) <= {float, int} or not values:
        raise Malformed("an embedding has no numbers")
    if not packed:
        return values
    try:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except (struct.error, OverflowError):
        raise Malformed("an embedding has numbers too large") from None
