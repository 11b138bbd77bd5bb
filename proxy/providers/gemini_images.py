"""Gemini's images: Imagen's `:predict`, and the models that answer with a picture
(`:generateContent`), which can be given pictures too.

Both answer with the picture itself. Where they refuse to make one they say so in a 200: that is
the prompt's fault, not the key's.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bsod.lib import clock
from bsod.lib.multipart import Form
from proxy.providers.base import Asked, Outbound, Refused
from proxy.providers.events import made
from proxy.providers.gemini_native import model_of, native
from proxy.providers.media import ImageStream
from proxy.providers.reading import counts, dicts, object_of, written
from proxy.providers.whole import ImageWhole

MOST_INLINE = 14_000_000  # bytes of pictures in one request: Google takes 20 MB, in base64
_MOST_IMAGEN = 4
_WIDE = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_IMAGEN = ("1:1", "3:4", "4:3", "9:16", "16:9")
_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})", re.ASCII)
_DATA_URL = re.compile(r"data:(image/[a-z+.-]{1,40});base64,([A-Za-z0-9+/]+=*)", re.ASCII)
_FORMATS = {"png": "image/png", "jpeg": "image/jpeg"}


def images(asked: Asked, secret: str) -> Outbound:
    """A generation or an edit. Raises Refused."""
    if asked.path == "images/variations":
        raise Refused("model", "Gemini makes no variations: use /v1/images/edits with a prompt.")
    fields = fields_of(asked)
    model = model_of(asked)
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Refused("prompt", "'prompt' must be a text.")
    if fields.get("response_format") not in (None, "b64_json"):
        raise Refused("response_format", "Gemini sends images in the answer: ask for 'b64_json'.")
    if fields.get("background") == "transparent":
        raise Refused("background", "Gemini's images are opaque: leave 'background' out.")
    if fields.get("output_format") not in (None, *_FORMATS):
        raise Refused("output_format", "Gemini makes 'png' and 'jpeg'.")
    if model.startswith("imagen"):
        return native(asked, secret, f"/models/{model}:predict", _imagen(asked, fields, prompt))
    body = _drawn(asked, fields, prompt)
    return native(asked, secret, f"/models/{model}:generateContent", body)


def fields_of(asked: Asked) -> Mapping[str, Any]:
    """The plain fields of a JSON body or of a form."""
    if asked.form is None:
        return asked.body
    return {name: values[-1] for name, values in asked.form.fields().items()}


def _imagen(asked: Asked, fields: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    if asked.path != "images/generations":
        raise Refused("image", "Imagen edits no images: use one of Gemini's image models.")
    parameters: dict[str, Any] = {"sampleCount": _count(fields, _MOST_IMAGEN)}
    if ratio := aspect(fields.get("size"), _IMAGEN):
        parameters["aspectRatio"] = ratio
    if (kind := fields.get("output_format")) is not None:
        parameters["outputOptions"] = {"mimeType": _FORMATS[kind]}
    return {"instances": [{"prompt": prompt}], "parameters": parameters}


def _drawn(asked: Asked, fields: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    _count(fields, 1)
    config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    if ratio := aspect(fields.get("size"), _WIDE):
        config["imageConfig"] = {"aspectRatio": ratio}
    given = [{"inlineData": picture} for picture in pictures(asked.form)]
    if asked.path == "images/edits" and not given:
        raise Refused("image", "An edit needs an 'image'.")
    parts = [*given, {"text": prompt}]
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}


def _count(fields: Mapping[str, Any], most: int) -> int:
    value = fields.get("n")
    count = int(value) if isinstance(value, str) and value.isdecimal() else value
    if count is None:
        return 1
    if type(count) is not int or not 1 <= count <= most:
        raise Refused("n", f"This model makes up to {most} a call: 'n' must be 1 to {most}.")
    return count


def aspect(size: Any, known: tuple[str, ...]) -> str | None:
    """The ratio a size comes close to; None: the model may choose. Raises Refused."""
    if size in (None, "auto"):
        return None
    if size in known:
        return str(size)
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found:
        wanted = int(found[1]) / max(1, int(found[2]))
        for ratio in known:
            width, _, height = ratio.partition(":")
            if abs(wanted * int(height) / int(width) - 1) < 0.03:
                return ratio
    raise Refused("size", f"'size' must have one of the ratios {', '.join(known)}.")


def pictures(form: Form | None) -> Iterator[dict[str, str]]:
    """The pictures in a form, as Google takes them. Raises Refused."""
    size = 0
    for part in form.files if form else ():
        if part.name == "mask":
            raise Refused("mask", "Gemini knows no masks: say in the prompt what is to change.")
        kind = (part.content_type or "").lower()
        size += part.size
        if not kind.startswith("image/") or not form:
            raise Refused(part.name, f"'{part.name}' must be an image, and its type say so.")
        if size > MOST_INLINE:
            raise Refused(part.name, f"Gemini takes {MOST_INLINE // 10**6} MB of images a call.")
        yield {"mimeType": kind, "data": base64.b64encode(form.read(part, part.size)).decode()}


def picture_of(url: Any, param: str) -> dict[str, str]:
    """A picture in a `data:` URL: Google fetches no other. Raises Refused."""
    found = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if not found:
        raise Refused(param, f"'{param}' must be a 'data:' URL of an image, in base64.")
    return {"mimeType": found[1], "data": found[2]}


def _shown(data: bytes) -> dict[str, Any]:
    """Google's answer as OpenAI's. Raises Refused where no picture was made."""
    reply = object_of(data)
    found = list(_predicted(reply)) or list(_parts(reply))
    if not found:
        raise Refused("prompt", f"The provider made no image of this prompt ({_why(reply)}).")
    shown: dict[str, Any] = {"created": clock.unix(clock.now()), "data": [
        {"b64_json": picture} for _, picture in found
    ]}  # fmt: skip
    if found[0][0] in _FORMATS.values():
        shown["output_format"] = found[0][0].partition("/")[2]
    usage = _usage(reply.get("usageMetadata"))
    return {**shown, "usage": usage} if usage else shown


def _predicted(reply: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for row in dicts(reply.get("predictions")):
        if isinstance(data := row.get("bytesBase64Encoded"), str):
            yield str(row.get("mimeType")), data


def _parts(reply: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for candidate in dicts(reply.get("candidates")):
        content = candidate.get("content")
        for part in dicts(content.get("parts") if isinstance(content, dict) else None):
            inline = part.get("inlineData")
            # A thought may be a picture too: a draft that is not the answer.
            if part.get("thought") or not isinstance(inline, dict):
                continue
            if isinstance(data := inline.get("data"), str):
                yield str(inline.get("mimeType")), data


def _why(reply: dict[str, Any]) -> str:
    reasons = [row.get("finishReason") for row in dicts(reply.get("candidates"))]
    feedback = reply.get("promptFeedback")
    reasons.append(feedback.get("blockReason") if isinstance(feedback, dict) else None)
    known = [it for it in reasons if isinstance(it, str) and re.fullmatch(r"[A-Z_]{1,40}", it)]
    return known[0] if known else "it was filtered"


def _usage(stated: Any) -> dict[str, Any] | None:
    if not isinstance(stated, dict):
        return None
    prompt, output = stated.get("promptTokenCount", 0), stated.get("candidatesTokenCount", 0)
    if not counts(prompt) or not counts(output):
        return None
    rows = dicts(stated.get("promptTokensDetails"))
    seen = sum(
        row["tokenCount"]
        for row in rows
        if row.get("modality") == "IMAGE" and counts(row.get("tokenCount"))
    )
    details = {"text_tokens": max(0, prompt - seen), "image_tokens": seen}
    return {
        "input_tokens": prompt,
        "output_tokens": output,
        "total_tokens": prompt + output,
        "input_tokens_details": details,
    }


class Pictures(ImageWhole):
    def whole(self, data: bytes) -> None:
        super().whole(written(_shown(data)))


class PictureStream(ImageStream):
    """Google makes pictures at once: to who waits for events each comes as the last of its own."""

    passes_json = False

    def whole(self, data: bytes) -> bytes:
        shown = _shown(data)
        name = "image_edit" if self.asked.path == "images/edits" else "image_generation"
        common = {
            "type": f"{name}.completed",
            "created_at": shown["created"],
            "background": "opaque",
            "output_format": shown.get("output_format", "png"),
            "quality": "auto",
            "size": "auto",
        }
        self._wanted = len(shown["data"])
        events = [{**common, **picture} for picture in shown["data"]]
        if "usage" in shown:
            events[-1]["usage"] = shown["usage"]
        return self.feed(b"".join(made(event["type"], event) for event in events))
