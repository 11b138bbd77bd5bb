"""A chat's chunks as a response's events, and a whole completion as a whole response.

Thoughts, words and calls become items in the order they come. Calls may grow side by side, so
they are closed together at the end; whatever is said or thought is closed by what follows it.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from proxy.providers import tokens
from proxy.providers.base import Asked, Malformed, Usage
from proxy.providers.bridging.counts import as_response, name_of, tier_of
from proxy.providers.bridging.items import Called, Event, Item, Message, Thought
from proxy.providers.bridging.to_chat import echo, made_at
from proxy.providers.events import made

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What a completion has that a response says elsewhere. Anything else goes on as it is: it is
# what a provider adds of its own, such as its sources.
_KNOWN = frozenset({
    "id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint",
    "obfuscation", "error",
})  # fmt: skip
_THOUGHTS = ("reasoning_content", "reasoning")


class ResponseEvents:
    """What a stream of chunks says, as events."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._summary = bool((asked.body.get("reasoning") or {}).get("summary"))
        self._head: Event = {}
        self._base = ""
        self._items: list[Item] = []
        self._calls: dict[int, Called] = {}
        self._reason: str | None = None
        self._stated: Mapping[str, Any] = {}
        self._more: Event = {}
        self._tier: str | None = None
        self._number = 0

    def take(self, chunk: dict[str, Any]) -> Sequence[bytes]:
        return [self._sent(event) for event in self._events(chunk)]

    def end(self, usage: Usage | None, produced: int) -> Sequence[bytes]:
        if not self._head:
            return ()
        state = self._state()
        events = list(self._closed(state))
        response = self.response(usage, produced)
        last = {"type": f"response.{state}", "response": response}
        return [self._sent(event) for event in (*events, last)]

    def response(self, usage: Usage | None, produced: int) -> Event:
        """The whole response, once all items are closed."""
        state = self._state()
        known = usage or Usage(tokens.of_prompt(self._asked.shape, self._asked.body), produced)
        return {
            **self._more,
            **self._head,
            "status": state,
            "incomplete_details": (
                {"reason": _INCOMPLETE[self._reason or ""]} if state == "incomplete" else None
            ),
            "output": [item.value() for item in self._items],
            "service_tier": self._tier or self._head["service_tier"],
            "usage": as_response(known, self._stated if usage else {}),
        }

    def close(self) -> None:
        """Close what is open, when nobody listens to events."""
        for _ in self._closed(self._state()):
            pass

    def _sent(self, event: Event) -> bytes:
        numbered = {"type": event["type"], "sequence_number": self._number, **event}
        self._number += 1
        return made(event["type"], numbered)

    def _state(self) -> str:
        return "incomplete" if self._reason in _INCOMPLETE else "completed"

    def _events(self, chunk: dict[str, Any]) -> Iterator[Event]:
        self._tier = tier_of(chunk.get("service_tier")) or self._tier
        if isinstance(chunk.get("usage"), dict):
            self._stated = chunk["usage"]
        self._more |= {name: value for name, value in chunk.items() if name not in _KNOWN}
        if not self._head:
            yield from self._begin(chunk)
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice.get("index") in (None, 0):
                yield from self._choice(choice)

    def _begin(self, chunk: dict[str, Any]) -> Iterator[Event]:
        self._base = name_of(self._asked, chunk.get("id"))
        self._head = {
            "id": f"resp_{self._base}",
            "object": "response",
            "created_at": made_at(chunk.get("created")),
            "status": "in_progress",
            "model": self._asked.model or str(chunk.get("model", "")),
            "output": [],
            "usage": None,
            **echo(self._asked),
        }
        if self._tier:
            self._head["service_tier"] = self._tier
        for name in ("created", "in_progress"):
            yield {"type": f"response.{name}", "response": self._head}

    def _choice(self, choice: dict[str, Any]) -> Iterator[Event]:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            name, thought, text = said_in(delta)
            if thought:
                yield from self._thought(name, thought)
            if text:
                item = yield from self._message()
                yield from item.say(text, probabilities(choice.get("logprobs")))
            if isinstance(delta.get("refusal"), str) and delta["refusal"]:
                item = yield from self._message()
                yield from item.refuse(delta["refusal"])
            for note in _notes(delta.get("annotations")):
                item = yield from self._message()
                yield from item.annotate(note)
            calls = delta.get("tool_calls")
            for place, call in enumerate(calls if isinstance(calls, list) else ()):
                yield from self._call(call, place)
        if choice.get("finish_reason"):
            self._reason = str(choice["finish_reason"])

    def _open(self) -> Item | None:
        """The item that grows, but for calls."""
        last = self._items[-1] if self._items else None
        return last if last and last.open and not isinstance(last, Called) else None

    def _add(self, item: Item) -> Iterator[Event]:
        before = self._open()
        if before:
            yield from before.close("completed")
        self._items.append(item)
        yield item.added()

    def _thought(self, name: str, text: str) -> Iterator[Event]:
        item = self._open()
        if not isinstance(item, Thought):
            item = Thought(self._id(f"rs_{name}"), len(self._items), self._summary)
            yield from self._add(item)
        yield from item.say(text)

    def _message(self) -> Generator[Event, None, Message]:
        """The message that grows; what begins it is yielded."""
        item = self._open()
        if not isinstance(item, Message):
            item = Message(self._id("msg"), len(self._items))
            yield from self._add(item)
        return item

    def _call(self, call: Any, place: int) -> Iterator[Event]:
        if not isinstance(call, dict):
            raise Malformed("a tool call is no object")
        number = call.get("index")
        number = number if type(number) is int else place
        inner = call.get("function") or call.get("custom") or {}
        if not isinstance(inner, dict):
            raise Malformed("a tool call names nothing")
        item = self._calls.get(number)
        if item is None:
            item = self._new_call(call, inner)
            self._calls[number] = item
            yield from self._add(item)
        if "extra_content" in call:
            item.more["extra_content"] = call["extra_content"]
        text = inner.get("input" if "custom" in call else "arguments")
        if isinstance(text, dict):
            raise Malformed("a call's arguments are no text")
        if text:
            yield from item.say(str(text))

    def _new_call(self, call: Event, inner: Event) -> Called:
        index, custom = len(self._items), "custom" in call
        id_ = self._id("ctc" if custom else "fc")
        call_id = call.get("id") or f"call_{self._base}_{index}"
        return Called(id_, index, str(call_id), str(inner.get("name") or ""), custom)

    def _id(self, kind: str) -> str:
        return f"{kind}_{self._base}_{len(self._items)}"

    def _closed(self, state: str) -> Iterator[Event]:
        """Close what is open; of a cut answer the last item is cut."""
        for item in self._items:
            cut = state == "incomplete" and item is self._items[-1]
            yield from item.close("incomplete" if cut else "completed")


def response_of(
    reply: dict[str, Any], asked: Asked, usage: Usage | None, produced: int
) -> dict[str, Any]:
    """A whole completion as a response."""
    events = ResponseEvents(asked)
    choices = [
        {**choice, "delta": choice.get("message")}
        for choice in reply["choices"]
        if isinstance(choice, dict)
    ]
    events.take({**reply, "choices": choices})
    events.close()
    return events.response(usage, produced)


def said_in(delta: Mapping[str, Any]) -> tuple[str, str, str]:
    """What a delta thinks, under which name, and what it says. Some say both in parts."""
    name = next((name for name in _THOUGHTS if isinstance(delta.get(name), str)), _THOUGHTS[0])
    thought, content = delta.get(name), delta.get("content")
    if isinstance(content, str) or content is None:
        return name, thought if isinstance(thought, str) else "", content or ""
    thoughts, texts = [], []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and part.get("type") == "thinking":
            thoughts += [said_in({"content": part.get("thinking")})[2]]
    # Under this name thoughts can be told, and never be told back.
    return "parts", "".join(thoughts), "".join(texts)


def probabilities(stated: Any) -> list[Event]:
    """Probabilities as a response's text has them."""
    rows = stated.get("content") if isinstance(stated, dict) else None
    return [
        {**_token(row), "top_logprobs": [_token(top) for top in _rows(row.get("top_logprobs"))]}
        for row in _rows(rows)
    ]


def _rows(rows: Any) -> Iterator[Event]:
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("token"), str) and "logprob" in row:
            yield row


def _token(row: Event) -> Event:
    given = row.get("bytes")
    data = given if isinstance(given, list) else list(row["token"].encode())
    return {"token": row["token"], "bytes": data, "logprob": row["logprob"]}


def _notes(notes: Any) -> Iterator[Event]:
    """Citations as a response's text has them."""
    for note in notes if isinstance(notes, list) else ():
        cited = note.get("url_citation") if isinstance(note, dict) else None
        if isinstance(cited, dict) and isinstance(cited.get("url"), str):
            yield {
                "type": "url_citation",
                "url": cited["url"],
                "title": str(cited.get("title") or ""),
                "start_index": _index(cited.get("start_index")),
                "end_index": _index(cited.get("end_index")),
            }


def _index(value: Any) -> int:
    return value if type(value) is int else 0
