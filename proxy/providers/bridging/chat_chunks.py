"""A response's events as a chat's chunks, and a whole response as a whole completion.

What an item has not told in deltas by its end is told then, so that a provider that sends items
whole loses nothing. An answer that failed is no completion: it is a fault.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from proxy.providers.base import Asked, Malformed, Refused, UpstreamFault, Usage
from proxy.providers.bridging.counts import as_chat, name_of, tier_of
from proxy.providers.bridging.to_chat import made_at
from proxy.providers.reading import dicts
from proxy.providers.refusals import redact

_ENDS = frozenset({"response.completed", "response.incomplete"})
_FAULTS = frozenset({"response.failed", "response.cancelled"})
_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_CALLS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
_FIELDS = dict(_CALLS.values())
Event = dict[str, Any]


class ChatChunks:
    """What a stream of events says, as chunks. The usage chunk is the chat reader's to hold."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._head: Event = {}
        self._told: dict[Any, int] = {}
        """Letters told of each item, by its place."""
        self._calls: dict[Any, int] = {}
        """Numbers of the calls, by their items' places."""
        self._thinking: dict[Any, str] = {}
        """The kind of event each thought is told by: some providers use two at once."""
        self._stated: Mapping[str, Any] | None = None

    def take(self, value: dict[str, Any]) -> Sequence[bytes]:
        return [self._sent(delta, reason) for delta, reason in self._deltas(value)]

    def end(self, usage: Usage | None, produced: int) -> Sequence[bytes]:
        if self._stated is None:
            return ()
        out = []
        if usage:
            out.append(_data({**self._head, "choices": [], "usage": as_chat(usage, self._stated)}))
        return [*out, b"data: [DONE]\n\n"]

    def _sent(self, delta: Event, reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        choice["logprobs"] = delta.pop("logprobs", None)
        usage = {"usage": None} if self._asked.wants_usage else {}
        return _data({**self._head, "choices": [choice], **usage})

    def _deltas(self, value: Event) -> Iterator[tuple[Event, str | None]]:
        name, response = value.get("type"), value.get("response")
        if name in _FAULTS:
            raise UpstreamFault
        if isinstance(response, dict):
            if not self._head:
                self._head = _head(self._asked, response)
                yield {"role": "assistant", "content": ""}, None
            if tier := tier_of(response.get("service_tier")):
                self._head["service_tier"] = tier
        if name in _ENDS and isinstance(response, dict):
            for place, item in enumerate(dicts(response.get("output"))):
                yield from self._rest(place, item)
            stated = response.get("usage")
            self._stated = stated if isinstance(stated, dict) else {}
            yield {}, reason_of(response)
        elif self._head:
            yield from self._item(name, value)

    def _item(self, name: Any, value: Event) -> Iterator[tuple[Event, str | None]]:
        place, text, item = value.get("output_index", 0), value.get("delta"), value.get("item")
        if name == "response.output_text.annotation.added":
            notes = [_note(value.get("annotation"))]
            if notes[0]:
                yield {"annotations": notes}, None
        elif name == "response.output_item.added" and isinstance(item, dict):
            yield from self._begun(place, item)
        elif name == "response.output_item.done" and isinstance(item, dict):
            yield from self._rest(place, item)
        elif name == "response.reasoning_summary_part.added" and value.get("summary_index"):
            yield from self._thought("summary", place, "\n\n")
        elif isinstance(text, str) and text:
            yield from self._delta(str(name), place, text, value.get("logprobs"))

    def _delta(
        self, name: str, place: Any, text: str, probabilities: Any
    ) -> Iterator[tuple[Event, str | None]]:
        if name == "response.output_text.delta":
            self._tell(place, text)
            delta: Event = {"content": text}
            if probabilities:
                delta["logprobs"] = _probabilities(probabilities)
            yield delta, None
        elif name == "response.refusal.delta":
            self._tell(place, text)
            yield {"refusal": text}, None
        elif name == "response.reasoning_summary_text.delta":
            yield from self._thought("summary", place, text)
        elif name == "response.reasoning_text.delta":
            yield from self._thought("content", place, text)
        elif place in self._calls:
            kind = {
                "response.function_call_arguments.delta": "function",
                "response.custom_tool_call_input.delta": "custom",
            }.get(name)
            if kind:
                self._tell(place, text)
                yield self._argued(place, kind, text), None

    def _tell(self, place: Any, text: str) -> None:
        self._told[place] = self._told.get(place, 0) + len(text)

    def _thought(self, kind: str, place: Any, text: str) -> Iterator[tuple[Event, str | None]]:
        if self._thinking.setdefault(place, kind) == kind:
            self._tell(place, text)
            yield {"reasoning_content": text}, None

    def _begun(self, place: Any, item: Event) -> Iterator[tuple[Event, str | None]]:
        """A call's first chunk has its name; what else begins has nothing to tell yet."""
        if item.get("type") not in _CALLS or place in self._calls:
            return
        self._calls[place] = len(self._calls)
        call = call_of({**item, "arguments": "", "input": ""})
        yield {"tool_calls": [{"index": self._calls[place], **call}]}, None

    def _argued(self, place: Any, kind: str, text: str) -> Event:
        return {"tool_calls": [{"index": self._calls[place], kind: {_FIELDS[kind]: text}}]}

    def _rest(self, place: Any, item: Event) -> Iterator[tuple[Event, str | None]]:
        """What of an item no delta has told."""
        yield from self._begun(place, item)
        if self._told.get(place):
            return
        kind = item.get("type")
        if kind in _CALLS:
            inner, field = _CALLS[kind]
            text = item.get(field)
            if isinstance(text, str) and text:
                self._tell(place, text)
                yield self._argued(place, inner, text), None
        elif kind == "reasoning":
            if text := thought_in(item):
                self._tell(place, text)
                yield {"reasoning_content": text}, None
        elif kind == "message":
            for part in dicts(item.get("content")):
                text = part.get("text") or part.get("refusal")
                if isinstance(text, str):
                    self._tell(place, text)
                    name = "refusal" if part.get("type") == "refusal" else "content"
                    yield {name: text}, None


def completion_of(
    reply: dict[str, Any], asked: Asked, usage: Usage | None, produced: int
) -> dict[str, Any]:
    """A whole response as a completion. Raises Malformed, UpstreamFault, Refused."""
    _check(reply)
    message: Event = {"role": "assistant", "content": None, "refusal": None}
    texts: dict[str, list[str]] = {"content": [], "refusal": [], "reasoning_content": []}
    calls, notes, likely = [], [], []
    for item in dicts(reply.get("output")):
        if item.get("type") in _CALLS:
            calls.append(call_of(item))
        elif item.get("type") == "reasoning":
            texts["reasoning_content"].append(thought_in(item))
        for part in dicts(item.get("content")) if item.get("type") == "message" else ():
            name = "refusal" if part.get("type") == "refusal" else "content"
            texts[name].append(str(part.get("refusal" if name == "refusal" else "text") or ""))
            notes += [note for note in map(_note, dicts(part.get("annotations"))) if note]
            likely += dicts(part.get("logprobs"))
    message |= {name: "".join(parts) for name, parts in texts.items() if any(parts)}
    message |= {"tool_calls": calls} if calls else {}
    message |= {"annotations": notes} if notes else {}
    if texts["content"] and not calls:
        message["content"] = message["content"] or ""
    choice = {"index": 0, "message": message, "finish_reason": reason_of(reply),
              "logprobs": _probabilities(likely) if likely else None}  # fmt: skip
    head = _head(asked, reply)
    stated = reply.get("usage")
    counted = as_chat(usage, stated if isinstance(stated, dict) else {}) if usage else None
    return {**head, "object": "chat.completion", "choices": [choice],
            **({"usage": counted} if counted else {})}  # fmt: skip


def _check(reply: Mapping[str, Any]) -> None:
    """A response that came to no end of its own is none."""
    status = reply.get("status", "completed")
    if status in ("completed", "incomplete"):
        return
    error = reply.get("error")
    if status not in ("failed", "cancelled"):
        raise Malformed("the response has not ended")
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if isinstance(error, dict) and ("image" in code or "policy" in code or "prompt" in code):
        # What was asked is at fault: no other key would answer it.
        raise Refused("messages", redact(str(error.get("message"))[:500]))
    raise UpstreamFault


def reason_of(response: Mapping[str, Any]) -> str:
    """Why a response ended, as a chat has it."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return _REASONS.get(str(reason), "length")
    called = any(item.get("type") in _CALLS for item in dicts(response.get("output")))
    return "tool_calls" if called else "stop"


def call_of(item: Mapping[str, Any]) -> Event:
    """A call's item as a chat has it."""
    kind, field = _CALLS[item["type"]]
    inner = {"name": str(item.get("name") or ""), field: str(item.get(field) or "")}
    return {"id": str(item.get("call_id") or item.get("id")), "type": kind, kind: inner}


def thought_in(item: Mapping[str, Any]) -> str:
    """What a thought tells: its summary, else itself."""
    for name in ("summary", "content"):
        texts = [part.get("text") for part in dicts(item.get(name))]
        if found := "\n\n".join(text for text in texts if isinstance(text, str)):
            return found
    return ""


def _head(asked: Asked, response: Mapping[str, Any]) -> Event:
    head: Event = {
        "id": f"chatcmpl-{name_of(asked, response.get('id'))}",
        "object": "chat.completion.chunk",
        "created": made_at(int(response.get("created_at") or 0) or None),
        "model": asked.model or str(response.get("model", "")),
    }
    tier = tier_of(response.get("service_tier"))
    return {**head, "service_tier": tier} if tier else head


def _note(note: Any) -> Event:
    """A citation as a chat has it; empty where it is of another kind."""
    if not isinstance(note, dict) or note.get("type") != "url_citation":
        return {}
    cited = {name: value for name, value in note.items() if name != "type"}
    return {"type": "url_citation", "url_citation": cited}


def _probabilities(rows: Any) -> Event:
    return {"content": [_token(row) for row in dicts(rows)], "refusal": None}


def _token(row: Event) -> Event:
    tops = [_token(top) for top in dicts(row.get("top_logprobs"))]
    data = row["bytes"] if isinstance(row.get("bytes"), list) else list(
        str(row.get("token", "")).encode()
    )  # fmt: skip
    found = {"token": str(row.get("token", "")), "logprob": row.get("logprob"), "bytes": data}
    return {**found, "top_logprobs": tops}


def _data(value: Event) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
