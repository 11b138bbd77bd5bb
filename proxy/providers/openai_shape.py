"""Everything that speaks OpenAI's own shape: chat completions whole and streamed, errors, lists.

The readers pass bytes on as they came wherever they can. They change a chunk only to take out
usage the client did not ask for, or to give the answer the name the client asked for.
"""

import email.utils
import re
from collections.abc import Mapping
from typing import Any

import orjson

from bsod.lib import clock
from bsod.lib.terms import Blame
from proxy.providers import tokens
from proxy.providers.base import (
    Asked,
    Malformed,
    Outbound,
    StreamReader,
    UpstreamFault,
    Usage,
    Verdict,
    WholeReader,
)
from proxy.providers.sse import Splitter, TooLong, payload

_BILLING = ("insufficient_quota", "billing", "credit balance", "exceeded your current quota")
_BAD_LINES = 3  # chunks that may be no JSON before the stream is given up
_SECRETS = re.compile(
    r"\b(?:sk|pk|gsk|xai|pplx|org|proj|user|acct|req|AIza)[-_A-Za-z0-9]*[-_0-9][-_*A-Za-z0-9]{3,}"
    r"|https?://\S+"
)


class OpenAIShape:
    """The base of every adapter whose provider answers in OpenAI's shape."""

    kind = "compatible"
    limit_field = "max_tokens"
    """The one spelling of the output limit this kind of provider understands."""

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        """The request for one attempt."""
        body = {**asked.body, "model": asked.upstream_model}
        if asked.limit is not None:
            body[self.limit_field] = asked.limit
        for name in ("user", "safety_identifier"):
            if name in body:
                body[name] = asked.user
        if asked.stream:
            options = dict(body.pop("stream_options", None) or {})
            options.pop("include_usage", None)
            if asked.ask_usage:
                options["include_usage"] = True
            if options:
                body["stream_options"] = options
        return self._request("POST", asked.path, secret, orjson.dumps(body), asked.headers)

    def _request(
        self, method: str, path: str, secret: str, body: bytes, headers: Any = ()
    ) -> Outbound:
        sent = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "bsod",
            **dict(headers),
            "authorization": f"Bearer {secret}",
        }
        if body:
            sent["content-type"] = "application/json"
        return Outbound(method, f"/{path}", sent, body)

    def stream_reader(self, asked: Asked) -> StreamReader:
        return ChatStream(asked)

    def whole_reader(self, asked: Asked) -> WholeReader:
        return ChatWhole(asked)

    def list_models(self, secret: str) -> Outbound:
        return self._request("GET", "models", secret, b"")

    def catalog(self, payload: Any) -> list[str]:
        """Model ids of a list; Malformed when it is none."""
        rows = payload.get("data") if isinstance(payload, dict) else None
        if not isinstance(rows, list):
            raise Malformed("the model list has no data")
        ids = [row.get("id") for row in rows if isinstance(row, dict)]
        return [name for name in ids if isinstance(name, str) and 0 < len(name) <= 256]

    def judge(self, status: int, headers: Mapping[str, str], head: bytes) -> Verdict:
        """Whose fault a reply other than 2xx is (SPEC §5, SECURITY §3.4)."""
        message, code, param = error_of(head)
        if status == 429:
            text = f"{code} {message}".lower()
            if any(word in text for word in _BILLING):
                return Verdict(Blame.BILLING)
            return Verdict(Blame.RATE_LIMIT, wait_of(headers))
        if status == 401:
            return Verdict(Blame.AUTH)
        if status in (402, 403):
            return Verdict(Blame.BILLING)
        if 400 <= status < 500 and status != 408:
            return Verdict(
                Blame.CLIENT,
                message=redact(message) or "The provider refused the request.",
                param=param,
                code=code,
                refuses_usage=status in (400, 422) and "stream_options" in message,
            )
        return Verdict(Blame.FAILURE)


class _Chat:
    """What reading a chat completion, whole or streamed, has in common."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.usage: Usage | None = None
        self.tier: str | None = None
        self._text_tokens = 0
        self._finished: set[int] = set()

    @property
    def produced(self) -> int:
        return self._text_tokens

    def _note(self, reply: dict[str, Any], part: str) -> None:
        """Take usage, tier, finish reasons and the size of the text from a reply or chunk."""
        tier = reply.get("service_tier")
        if isinstance(tier, str):
            self.tier = tier
        usage = usage_of(reply.get("usage"))
        if usage:
            self.usage = usage
        choices = reply.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                raise Malformed("a choice is no object")
            self._text_tokens += _size(choice.get(part))
            if choice.get("finish_reason"):
                self._finished.add(choice.get("index", 0))

    def _usage_block(self) -> dict[str, int]:
        """Usage for a client that asked where the provider gave none, estimated."""
        usage = self.usage or Usage(
            tokens.of_messages(self.asked.body.get("messages")), self.produced
        )
        return {
            "prompt_tokens": usage.prompt,
            "completion_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
        }


class ChatWhole(_Chat):
    """A completion in one JSON body."""

    def whole(self, data: bytes) -> None:
        self._raw = data
        try:
            reply = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise Malformed("the reply is no JSON") from None
        if not isinstance(reply, dict):
            raise Malformed("the reply is no object")
        if reply.get("error"):
            raise UpstreamFault
        if not isinstance(reply.get("choices"), list) or not reply["choices"]:
            raise Malformed("the reply has no choices")
        self._note(reply, "message")
        self._reply = reply

    @property
    def complete(self) -> bool:
        return hasattr(self, "_reply")

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        renamed = self.asked.upstream_model != self.asked.model
        if renamed:
            self._reply["model"] = self.asked.model
        if extra:
            self._reply.update(extra)
        return orjson.dumps(self._reply) if renamed or extra else self._raw


class ChatStream(_Chat):
    """A completion as a stream of chunks. The usage chunk and the end wait for the close."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._splitter = Splitter()
        self._done = False
        self._bad = 0
        self._head: dict[str, Any] = {}
        self._last: dict[str, Any] | None = None
        self._usage_sent = False
        self._rename = asked.upstream_model != asked.model

    @property
    def complete(self) -> bool:
        return self._done or len(self._finished) >= self.asked.choices

    def feed(self, data: bytes) -> bytes:
        try:
            events = self._splitter.feed(data)
        except TooLong:
            raise Malformed("an event is too long") from None
        return b"".join([self._event(event) for event in events])

    def _event(self, event: bytes) -> bytes:
        text = payload(event)
        if text is None or self._done:
            return b""
        if text == b"[DONE]":
            self._done = True
            return b""
        chunk = self._parse(text)
        if chunk is None:
            return b""
        if chunk.get("error"):
            raise UpstreamFault
        self._note(chunk, "delta")
        return self._pass(chunk, text)

    def _parse(self, text: bytes) -> dict[str, Any] | None:
        try:
            chunk = orjson.loads(text)
        except orjson.JSONDecodeError:
            chunk = None
        if isinstance(chunk, dict):
            return chunk
        self._bad += 1
        if not self._head or self._bad >= _BAD_LINES:
            raise Malformed("a chunk is no JSON object")
        return None

    def _pass(self, chunk: dict[str, Any], text: bytes) -> bytes:
        """What of a chunk the client gets now."""
        if not self._head:
            self._head = {k: chunk[k] for k in ("id", "created", "model") if k in chunk}
        changed = self._rename and "model" in chunk
        if changed:
            chunk["model"] = self.asked.model
        if "usage" in chunk:
            if not chunk.get("choices") and chunk["usage"]:
                self._last = chunk if self.asked.wants_usage else None
                return b""
            if self.asked.wants_usage:
                self._usage_sent = self._usage_sent or bool(chunk["usage"])
            elif not changed and text.count(b'"usage"') == 1 and b',"usage":null' in text:
                # By far the most frequent change of all: done on the bytes.
                return b"data: " + text.replace(b',"usage":null', b"") + b"\n\n"
            else:
                del chunk["usage"]
                changed = True
        return b"data: " + (orjson.dumps(chunk) if changed else text) + b"\n\n"

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        last = self._last
        if last is None and (extra or (self.asked.wants_usage and not self._usage_sent)):
            last = {
                **self._head,
                "object": "chat.completion.chunk",
                "model": self.asked.model,
                "choices": [],
                "usage": self._usage_block(),
            }
        if last is None:
            return b"data: [DONE]\n\n"
        return b"data: " + orjson.dumps({**last, **(extra or {})}) + b"\n\ndata: [DONE]\n\n"


def _size(part: Any) -> int:
    """Estimated tokens of a message or delta: what it says, thinks, refuses and calls."""
    if not isinstance(part, dict):
        return 0
    content = part.get("content")
    size = tokens.of_text(content) if isinstance(content, str) else 0
    if len(part) > 1 or not size:
        for name in ("reasoning_content", "reasoning", "refusal"):
            if isinstance(part.get(name), str):
                size += tokens.of_text(part[name])
        for name in ("tool_calls", "function_call", "audio"):
            if part.get(name):
                size += tokens.of_value(part[name])
    return size


def usage_of(value: Any) -> Usage | None:
    """Usage as a provider states it. A negative or fractional count is no statement at all."""
    if not isinstance(value, dict):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens", 0)
    if type(prompt) is not int or type(completion) is not int or prompt < 0 or completion < 0:
        return None
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(prompt, completion, cached if type(cached) is int and cached > 0 else 0)


def error_of(head: bytes) -> tuple[str, str | None, str | None]:
    """(message, code, param) of an error body; also of Gemini's, which is an array of one."""
    try:
        body = orjson.loads(head)
    except orjson.JSONDecodeError:
        return "", None, None
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return str(error or "")[:500], None, None
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    return (
        message[:2000] if isinstance(message, str) else "",
        code if isinstance(code, str) else None,
        param if isinstance(param, str) else None,
    )


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Seconds a provider asks to wait: `retry-after-ms`, or `Retry-After` in either form."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after", "")
        if value.replace(".", "", 1).isdigit():
            return float(value)
        until = email.utils.parsedate_to_datetime(value)
        return max(0.0, (until - clock.now()).total_seconds())
    except (ValueError, TypeError):
        return None


def redact(text: str) -> str:
    """A provider's message without what could name its account, key or host."""
    return _SECRETS.sub("…", text)
