"""The items of a response's output as they grow: what was thought, what is said, what is called.

Each knows the events of its own life: added, its deltas, done. Numbers are put on by who sends
them.
"""

from collections.abc import Generator, Iterator
from typing import Any

Event = dict[str, Any]


class Item:
    """One item, at its place in the output."""

    kind = ""
    open = True

    def __init__(self, id_: str, index: int) -> None:
        self.id, self.index = id_, index
        self.status = "in_progress"

    def value(self) -> Event:
        """It as it stands in the output."""
        raise NotImplementedError

    def added(self) -> Event:
        return self._about("added")

    def close(self, status: str) -> Iterator[Event]:
        """Its last events; nothing where it was closed before."""
        if self.open:
            self.open, self.status = False, status
            yield from self._ended()
            yield self._about("done")

    def _ended(self) -> Iterator[Event]:
        return iter(())

    def _about(self, state: str) -> Event:
        name = f"response.output_item.{state}"
        return {"type": name, "output_index": self.index, "item": self.value()}

    def _event(self, kind: str, /, **more: Any) -> Event:
        place = {"output_index": self.index, "item_id": self.id}
        return {"type": f"response.{kind}", **place, **more}


class Thought(Item):
    """What the model thought; shown as a summary to who asked for one."""

    kind = "reasoning"

    def __init__(self, id_: str, index: int, summary: bool) -> None:
        super().__init__(id_, index)
        self._texts: list[str] = []
        self._summary = summary
        self._name = "reasoning_summary_text" if summary else "reasoning_text"
        self._place = {"summary_index": 0} if summary else {"content_index": 0}

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def value(self) -> Event:
        # The text itself is there in either case: without it, an item that comes back in a later
        # call would be a mere name for something a provider keeps.
        shown = not self.open
        return {
            "id": self.id,
            "type": self.kind,
            "summary": [_summary(self.text)] if shown and self._summary else [],
            "content": [{"type": "reasoning_text", "text": self.text}] if shown else [],
            "status": self.status,
        }

    def say(self, text: str) -> Iterator[Event]:
        if not self._texts:
            yield self._part("added", "")
        self._texts.append(text)
        yield self._event(f"{self._name}.delta", delta=text, **self._place)

    def _ended(self) -> Iterator[Event]:
        yield self._event(f"{self._name}.done", text=self.text, **self._place)
        yield self._part("done", self.text)

    def _part(self, state: str, text: str) -> Event:
        name = f"reasoning_summary_part.{state}" if self._summary else f"content_part.{state}"
        part = _summary(text) if self._summary else {"type": "reasoning_text", "text": text}
        return self._event(name, part=part, **self._place)


def _summary(text: str) -> Event:
    return {"type": "summary_text", "text": text}


class Message(Item):
    """What the model says, or why it does not; in parts."""

    kind = "message"

    def __init__(self, id_: str, index: int) -> None:
        super().__init__(id_, index)
        self._parts: list[Event] = []
        self._texts: list[str] = []
        """Of the last part, which alone grows."""

    def value(self) -> Event:
        return {
            "id": self.id, "type": self.kind, "status": self.status, "role": "assistant",
            "content": [] if self.open else self._parts,
        }  # fmt: skip

    def say(self, text: str, probabilities: list[Event]) -> Iterator[Event]:
        part = yield from self._grown("output_text", text)
        part["logprobs"] += probabilities
        yield self._event(
            "output_text.delta", delta=text, logprobs=brief(probabilities), **self._place
        )

    def refuse(self, text: str) -> Iterator[Event]:
        yield from self._grown("refusal", text)
        yield self._event("refusal.delta", delta=text, **self._place)

    def annotate(self, note: Event) -> Iterator[Event]:
        part = yield from self._grown("output_text", "")
        part["annotations"].append(note)
        yield self._event(
            "output_text.annotation.added", annotation=note,
            annotation_index=len(part["annotations"]) - 1, **self._place,
        )  # fmt: skip

    @property
    def _place(self) -> dict[str, int]:
        return {"content_index": len(self._parts) - 1}

    def _grown(self, kind: str, text: str) -> Generator[Event, None, Event]:
        """The part this text belongs to: the last, if it is of that kind."""
        if not self._parts or self._parts[-1]["type"] != kind:
            yield from self._ended()
            self._parts.append(_part(kind))
            yield self._event("content_part.added", part=_part(kind), **self._place)
        self._texts.append(text)
        return self._parts[-1]

    def _ended(self) -> Iterator[Event]:
        if not self._parts:
            return
        part, text = self._parts[-1], "".join(self._texts)
        self._texts = []
        if part["type"] == "refusal":
            part["refusal"] = text
            yield self._event("refusal.done", refusal=text, **self._place)
        else:
            part["text"] = text
            yield self._event(
                "output_text.done", text=text, logprobs=brief(part["logprobs"]), **self._place
            )
        yield self._event("content_part.done", part=part, **self._place)


def _part(kind: str) -> Event:
    if kind == "refusal":
        return {"type": kind, kind: ""}
    return {"type": kind, "annotations": [], "logprobs": [], "text": ""}


class Called(Item):
    """A tool the model calls: a function, or one of the caller's own making."""

    def __init__(self, id_: str, index: int, call_id: str, name: str, custom: bool) -> None:
        super().__init__(id_, index)
        self._call_id, self._name = call_id, name
        self._texts: list[str] = []
        self.more: Event = {}
        self.kind = "custom_tool_call" if custom else "function_call"
        self._field = "input" if custom else "arguments"
        self._said = f"{self.kind}_{self._field}"

    def value(self) -> Event:
        text = "" if self.open else "".join(self._texts)
        value = {
            "id": self.id, "type": self.kind, "call_id": self._call_id, "name": self._name,
            self._field: text, **self.more,
        }  # fmt: skip
        # Of the callers' own tools the shape has no status.
        return value if self._field == "input" else {**value, "status": self.status}

    def say(self, text: str) -> Iterator[Event]:
        self._texts.append(text)
        yield self._event(f"{self._said}.delta", delta=text)

    def _ended(self) -> Iterator[Event]:
        said = {self._field: "".join(self._texts)}
        # A response's function calls are told by name once more; the SDKs of some languages ask.
        name = {"name": self._name} if self._field == "arguments" else {}
        yield self._event(f"{self._said}.done", **said, **name)


def brief(probabilities: list[Event]) -> list[Event]:
    """Probabilities as the deltas have them: without the bytes."""
    return [
        {
            "token": row["token"],
            "logprob": row["logprob"],
            "top_logprobs": [
                {"token": top["token"], "logprob": top["logprob"]} for top in row["top_logprobs"]
            ],
        }
        for row in probabilities
    ]
