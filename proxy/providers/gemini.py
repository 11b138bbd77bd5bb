"""Google's Gemini: chat through its OpenAI-compatible surface, what that lacks natively.

Its refusals say more than their status does: a wrong key is a 400, a limit that ends in a minute
speaks of "billing", and both come as an array with the error inside.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import orjson

from bsod.lib import clock
from bsod.lib.terms import Blame, Service, Shape
from proxy.providers import gemini_films, gemini_images, gemini_native
from proxy.providers.base import Asked, Listed, Outbound, StreamReader, Verdict, WholeReader
from proxy.providers.gemini_chat import GeminiStream, GeminiWhole, chat_body
from proxy.providers.openai_shape import OpenAIShape
from proxy.providers.outbound import sealed
from proxy.providers.reading import counts
from proxy.providers.refusals import error_of, wait_of

_NATIVE: dict[str, Callable[[Asked, str], Outbound]] = {
    "embeddings": gemini_native.embeddings,
    "images": gemini_images.images,
    "videos": gemini_films.films,
}
_READERS: dict[str, Callable[[Asked], WholeReader]] = {
    "embeddings": gemini_native.Vectors,
    "images": gemini_images.Pictures,
}
# What a model's methods of generation can be asked for here; one with none of them is not listed.
_METHODS = {
    "generateContent": Service.CHAT,
    "embedContent": Service.EMBEDDINGS,
    "predict": Service.IMAGES,
    "predictLongRunning": Service.VIDEOS,
}
_UNKNOWN_FIELD = re.compile(r'Unknown name \\?"([\w.]{1,100})\\?"')
_AGAIN = re.compile(r"retry in (?:(\d{1,3})h)?(?:(\d{1,3})m)?(\d{1,6}(?:\.\d{1,12})?)s", re.ASCII)
# Whole phrases, at the beginning where they can be: Google repeats names a client has made up, and
# none of these may rest a key.
_BAD_KEY = re.compile(r"API key (?:not valid|not found|expired)|Your API key was", re.IGNORECASE)
_NO_MONEY = re.compile(
    r"(?:prepayment|prepaid) credits|credits are depleted|spend(?:ing)? cap", re.I
)
_NOT_HERE = re.compile(
    r"User location is not supported|Please enable billing|not available in your country", re.I
)
_PROJECT = re.compile(r"\bprojects?(?:_number)?[/:# ]+['\"]?[\w-]*\d[\w-]*", re.IGNORECASE)
_PACIFIC = timedelta(hours=8)  # behind UTC: Google's days end at midnight there


class Gemini(OpenAIShape):
    kind = "gemini"
    offers = frozenset({Service.CHAT, Service.EMBEDDINGS, Service.IMAGES, Service.VIDEOS})

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        native = _NATIVE.get(_group(asked))
        if native:
            return native(asked, secret)
        if asked.shape is Shape.CHAT:
            asked = replace(asked, body=chat_body(asked.body, asked.upstream_model))
        return super().prepare(asked, secret)

    def stream_reader(self, asked: Asked) -> StreamReader:
        if asked.shape is Shape.CHAT:
            return GeminiStream(asked)
        if _group(asked) == "images":
            return gemini_images.PictureStream(asked)
        return super().stream_reader(asked)

    def whole_reader(self, asked: Asked) -> WholeReader:
        if asked.shape is Shape.CHAT:
            return GeminiWhole(asked)
        if _group(asked) == "videos" and asked.shape is not Shape.CONTENT:
            return gemini_films.FilmWhole(asked)
        reader = _READERS.get(_group(asked))
        return reader(asked) if reader else super().whole_reader(asked)

    def list_models(self, secret: str) -> Outbound:
        """Google's own list: it says what a model is for, and its limits."""
        sent = sealed({"accept": "application/json", "user-agent": "bsod"}, "", secret)
        del sent["authorization"]
        sent["x-goog-api-key"] = secret
        target = "/models?pageSize=1000"
        return Outbound("GET", target, sent, b"", leaves=gemini_native.SURFACE)

    def catalog(self, payload: Any) -> list[Listed]:
        rows = payload.get("models") if isinstance(payload, dict) else None
        if not isinstance(rows, list):
            return super().catalog(payload)
        return [listed for row in rows if isinstance(row, dict) and (listed := _listed(row))]

    def judge(self, status: int, headers: Mapping[str, str], head: bytes) -> Verdict:
        said = Rpc.of(head)
        if status == 429:
            return _limited(said, headers, head)
        if _BAD_KEY.match(said.message) or "API_KEY_INVALID" in said.reasons:
            return Verdict(Blame.AUTH)
        if (
            status == 400
            and said.status == "FAILED_PRECONDITION"
            and _NOT_HERE.search(said.message)
        ):
            return Verdict(Blame.BILLING)
        verdict = super().judge(status, headers, head)
        if verdict.blame is not Blame.CLIENT:
            return verdict
        unknown = _UNKNOWN_FIELD.search(said.message)
        return replace(
            verdict,
            message=_PROJECT.sub("…", verdict.message),
            param=verdict.param or (unknown[1] if unknown else None),
        )


class Rpc(NamedTuple):
    """What Google's error object says besides."""

    message: str
    status: str
    reasons: frozenset[str]
    quotas: tuple[str, ...]

    @classmethod
    def of(cls, head: bytes) -> "Rpc":
        try:
            body = orjson.loads(head)
        except orjson.JSONDecodeError:
            body = None
        if isinstance(body, list) and body:
            body = body[0]
        error = body.get("error") if isinstance(body, dict) else None
        found = error if isinstance(error, dict) else {}
        details = [it for it in _list(found.get("details")) if isinstance(it, dict)]
        violations = [it for one in details for it in _list(one.get("violations"))]
        return cls(
            _text(found.get("message")),
            _text(found.get("status")),
            frozenset(_text(it.get("reason")) for it in details),
            tuple(_text(it.get("quotaId")) for it in violations if isinstance(it, dict)),
        )


def _limited(said: Rpc, headers: Mapping[str, str], head: bytes) -> Verdict:
    """A 429. Its text speaks of plan and billing whatever the limit is: only where money itself
    is gone the key rests for longer than is stated."""
    if not said.quotas and _NO_MONEY.search(said.message):
        return Verdict(Blame.BILLING)
    wait = error_of(head).wait
    if wait is None:
        wait = _spoken(said.message)
    if wait is None:
        wait = wait_of(headers)
    if wait is None and any("PerDay" in quota for quota in said.quotas):
        wait = _until_midnight()
    return Verdict(Blame.RATE_LIMIT, wait)


def _spoken(message: str) -> float | None:
    """The wait that a message ends with: `Please retry in 1m38.3s.`"""
    found = _AGAIN.search(message)
    if not found:
        return None
    return int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + float(found[3])


def _until_midnight() -> float:
    there = clock.now() - _PACIFIC
    midnight = there.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - there).total_seconds()


def _listed(row: dict[str, Any]) -> Listed | None:
    name, methods = row.get("name"), _list(row.get("supportedGenerationMethods"))
    services = {_METHODS[it] for it in methods if isinstance(it, str) and it in _METHODS}
    if not isinstance(name, str) or not 0 < len(name) <= 256 or not services:
        return None
    if services == {Service.CHAT} and "-image" in name:
        services = {Service.IMAGES}
    prompt, output = row.get("inputTokenLimit"), row.get("outputTokenLimit")
    return Listed(
        name,
        context=prompt if counts(prompt) and prompt else None,
        output=output if counts(output) and output else None,
        services=frozenset(services),
    )


def _group(asked: Asked) -> str:
    return asked.path.partition("/")[0]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[:2000] if isinstance(value, str) else ""
