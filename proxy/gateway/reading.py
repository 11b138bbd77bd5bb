"""What each shape of body says about its call: the model, the limits, what it stores and begins.

Values in, values out; ApiError 400 names the field that cannot be. Limits are taken out of the
body, so that one spelling is sent on. Of a form the plain fields are read like a body.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from bsod.lib.terms import ObjectKind, Shape
from proxy.errors import ApiError, invalid
from proxy.fields import FILM_SECONDS, MOST_CHOICES, MOST_SECONDS, MOST_TOKENS, RUN_TOKENS
from proxy.providers import tokens
from proxy.route import ReplyKind, Route

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
Body = dict[str, Any]


class Reading(TypedDict, total=False):
    """Fields of a Call that its body decides."""

    model: str
    stream: bool
    wants_usage: bool
    limit: int | None
    choices: int
    fast: bool
    prompt: int
    units: int
    seconds: int | None
    stored: bool
    job: ObjectKind | None
    zero: str


def read(route: Route, body: Body) -> Reading:
    """What a parsed body asks for. `body` loses the fields that are folded."""
    zero = _zero(body) if route.spends else ""
    reading = READERS[route.shape](body)
    reading["zero"] = zero
    reading["model"] = _model(route, body)
    if "stored" not in reading:
        reading["stored"] = route.creates is not None
    return reading


def form_values(fields: Mapping[str, list[str]]) -> Body:
    """A form's plain fields with the types a JSON body would have. ApiError 400 for a field
    that counts and is there twice."""
    body: Body = {}
    for name, values in fields.items():
        if name in _COUNTS and len(values) > 1:
            raise invalid(name, f"The field '{name}' appears twice.")
        text = values[0]
        if name in ("n", "seconds"):
            body[name] = number(text)
        elif name == "stream":
            body[name] = {"true": True, "false": False}.get(text.lower(), text)
        else:
            body[name] = text
    return body


def number(text: str) -> int | str:
    """The whole number a text spells, or the text. What no limit is as long as is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


_COUNTS = {"model", "n", "seconds", "stream", "response_format", "purpose", "quality", "size"}


def _model(route: Route, body: Body) -> str:
    model = body.get("model")
    if model is None and (route.default_model or route.nameless or not route.modality):
        return ""
    if model is None and route.shape in (Shape.BATCH, Shape.RUN):
        return ""
    if not isinstance(model, str) or (not model and route.modality):
        raise invalid("model", "'model' must be the id of a model; see GET /v1/models.")
    return model


def _chat(body: Body) -> Reading:
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise invalid("messages", "'messages' must be a list of at least one message.")
    stream, wants_usage = _streaming(body)
    return {
        "stream": stream,
        "wants_usage": wants_usage,
        "limit": _limit(body),
        "choices": _choices(body),
        "fast": _fast(body),
        "prompt": tokens.of_prompt(Shape.CHAT, body),
        "stored": _flag(body, "store"),
    }


def _completion(body: Body) -> Reading:
    stream, wants_usage = _streaming(body)
    prompts = body.get("prompt")
    # A list of texts is as many prompts, each with its own choices.
    many = len(prompts) if isinstance(prompts, list) and _texts(prompts) else 1
    return {
        "stream": stream,
        "wants_usage": wants_usage,
        "limit": _limit(body),
        "choices": _choices(body) * max(1, many),
        "fast": _fast(body),
        "prompt": tokens.of_prompt(Shape.COMPLETION, body),
    }


def _choices(body: Body) -> int:
    """Answers to one prompt that are made, whether they are shown or not."""
    return max(_whole(body, name, MOST_CHOICES) or 1 for name in ("n", "best_of"))


def _texts(prompts: list[Any]) -> bool:
    return bool(prompts) and not all(type(item) is int for item in prompts)


def _response(body: Body) -> Reading:
    background = _flag(body, "background")
    return {
        "stream": _flag(body, "stream"),
        "limit": _limit(body),
        "fast": _fast(body),
        "prompt": tokens.of_prompt(Shape.RESPONSE, body),
        "stored": _flag(body, "store", default=True),
        "job": ObjectKind.RESPONSE if background else None,
    }


def _run(body: Body) -> Reading:
    limit = _whole(body, "max_completion_tokens", MOST_TOKENS)
    return {
        "stream": _flag(body, "stream"),
        "limit": limit or RUN_TOKENS,
        "prompt": tokens.of_prompt(Shape.RUN, body),
        "job": ObjectKind.RUN,
    }


def _input(shape: Shape) -> Callable[[Body], Reading]:
    """Calls that are charged for what they are given, and answer with little or nothing."""

    def read_input(body: Body) -> Reading:
        return {"limit": 0, "prompt": tokens.of_prompt(shape, body), "fast": _fast(body)}

    return read_input


def _generated(shape: Shape) -> Callable[[Body], Reading]:
    def read_generated(body: Body) -> Reading:
        return {"limit": _limit(body), "prompt": tokens.of_prompt(shape, body), "fast": _fast(body)}

    return read_generated


def _image(body: Body) -> Reading:
    return {"stream": _flag(body, "stream"), "units": _whole(body, "n", MOST_CHOICES) or 1}


def _transcription(body: Body) -> Reading:
    return {"stream": _flag(body, "stream")}


def _speech(body: Body) -> Reading:
    return {"stream": body.get("stream_format") == "sse"}


def _video(body: Body) -> Reading:
    seconds = body.get("seconds")
    # OpenAI spells it as a string, others as a number.
    if isinstance(seconds, str):
        seconds = number(seconds)
    if seconds is not None and (type(seconds) is not int or not 1 <= seconds <= MOST_SECONDS):
        raise invalid("seconds", f"'seconds' must be a whole number from 1 to {MOST_SECONDS}.")
    return {"seconds": seconds or FILM_SECONDS, "job": ObjectKind.VIDEO}


def _begins(kind: ObjectKind) -> Callable[[Body], Reading]:
    def read_job(body: Body) -> Reading:
        return {"limit": 0, "job": kind}

    return read_job


def _nothing(body: Body) -> Reading:
    return {"stream": body.get("stream") is True}


READERS: dict[Shape, Callable[[Body], Reading]] = {
    Shape.CHAT: _chat,
    Shape.COMPLETION: _completion,
    Shape.RESPONSE: _response,
    Shape.COMPACTION: _generated(Shape.COMPACTION),
    Shape.EMBEDDING: _input(Shape.EMBEDDING),
    Shape.MODERATION: _input(Shape.MODERATION),
    Shape.GRADER: _generated(Shape.GRADER),
    Shape.IMAGE: _image,
    Shape.TRANSCRIPTION: _transcription,
    Shape.SPEECH: _speech,
    Shape.VIDEO: _video,
    Shape.RUN: _run,
    Shape.BATCH: _begins(ObjectKind.BATCH),
    Shape.FINE_TUNING: _begins(ObjectKind.FINE_TUNING_JOB),
    Shape.UPLOAD: _begins(ObjectKind.UPLOAD),
    Shape.FILE: _nothing,
    Shape.OBJECT: _nothing,
    Shape.CONTENT: _nothing,
}


def streams(route: Route, query: str) -> bool:
    """Whether a request without a body asks for events."""
    return route.reply is ReplyKind.STREAM and "stream=true" in query.lower().split("&")


def _streaming(body: Body) -> tuple[bool, bool]:
    stream, options = _flag(body, "stream"), body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise invalid("stream_options", "'stream_options' must be an object.")
    wants = (options or {}).get("include_usage")
    if type(wants) not in (bool, type(None)):
        raise invalid("stream_options.include_usage", "'include_usage' must be true or false.")
    return stream, bool(wants)


def _flag(body: Body, name: str, *, default: bool = False) -> bool:
    value = body.get(name)
    if type(value) not in (bool, type(None)):
        raise invalid(name, f"'{name}' must be true or false.")
    return default if value is None else bool(value)


def _limit(body: Body) -> int | None:
    """The smallest of the output limits in a body, which loses them all."""
    found = [_whole(body, name, MOST_TOKENS) for name in LIMITS]
    limits = [limit for limit in found if limit is not None]
    for name in LIMITS:
        body.pop(name, None)
    return min(limits, default=None)


def _zero(body: Body) -> str:
    """The first number that is 0. Some providers take that for "as many as you like", so it is
    for nobody whose units are counted; a key without limits may ask them."""
    names = ("n", "best_of", *LIMITS)
    return next((name for name in names if name in body and type(body[name]) is int
                 and not body[name]), "")  # fmt: skip


def _whole(body: Body, name: str, most: int) -> int | None:
    """A whole number, or None when absent or null. A 0 is judged when it is known who asks."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= most:
        raise not_whole(name, most)
    return value


def not_whole(name: str, most: int) -> ApiError:
    return invalid(name, f"'{name}' must be a whole number from 1 to {most}.")


def _fast(body: Body) -> bool:
    """Fast mode in its three spellings, forwarded as the one every provider knows."""
    asked = body.get("priority") == "fast"
    if asked:
        del body["priority"]
    if asked or body.get("service_tier") in ("priority", "fast"):
        body["service_tier"] = "priority"
        return True
    return False
