"""Reading responses, whole and streamed; a stored one that is streamed again; a compaction.

A stream ends with the event that holds the whole response: it waits for the close. An answer that
goes on in the background has a state and no usage.
"""

from collections.abc import Mapping
from typing import Any

from proxy.providers import tokens
from proxy.providers.base import Asked, Found, Malformed
from proxy.providers.events import EventStream, made
from proxy.providers.harvest import found, harvest
from proxy.providers.reading import Reading, flow_of, object_of
from proxy.providers.whole import ObjectWhole

ENDS = frozenset(
    f"response.{state}" for state in ("completed", "incomplete", "failed", "cancelled")
)
_SOUND = "response.audio.delta"  # its delta is bytes of a sound
_SAID = ("text", "refusal", "transcript", "name", "arguments", "input", "code")


class _Response(Reading):
    """What a response says, wherever it comes."""

    def _note_response(self, reply: dict[str, Any]) -> None:
        self.state = reply
        self._take_tier(reply)
        usage = flow_of(reply.get("usage"))
        if usage:
            self.usage = usage

    def _made(self, reply: dict[str, Any]) -> list[Found]:
        """The ids of a response whose output is complete."""
        if not kept(self.asked, reply):
            return []
        return harvest(self.asked.creates, {**reply, "object": "response"})

    def _weigh(self, reply: dict[str, Any]) -> None:
        """The size of its output, where nothing of it has been counted yet."""
        if not self._weight:
            self._weight = weight_of(reply.get("output"))


class ResponseWhole(_Response, ObjectWhole):
    """A response in one JSON body; one in the background is `queued`."""

    def _note(self, reply: dict[str, Any]) -> None:
        if not isinstance(reply.get("output"), list) and "status" not in reply:
            raise Malformed("the reply has no output")
        self._note_response(reply)
        self._weigh(reply)
        self.found += self._made(reply)


class ResponseStream(_Response, EventStream):
    """A response as events."""

    passes_json = False
    ends = ENDS
    _known = False
    """Its id has been told."""

    def whole(self, data: bytes) -> bytes:
        reply = object_of(data)
        if not isinstance(reply.get("output"), list) and "status" not in reply:
            raise Malformed("the reply has no output")
        status = reply.get("status")
        last = f"response.{status}" if f"response.{status}" in ENDS else "response.completed"
        events = [
            made(name, {"type": name, "sequence_number": place, "response": reply})
            for place, name in enumerate(("response.created", last))
        ]
        return self.feed(b"".join(events))

    def _note(self, name: str, value: dict[str, Any]) -> bool:
        if name.endswith(".delta") and name != _SOUND:
            self._weight += tokens.weight(value.get("delta"))
        reply = value.get("response")
        if not isinstance(reply, dict):
            if name in self.ends:
                raise Malformed("the last event has no response")
            return False
        self._note_response(reply)
        if name in self.ends:
            self._weigh(reply)
            self.found += self._made(reply)
        elif not self._known and self.asked.creates and kept(self.asked, reply):
            self.found += found(self.asked.creates, reply)
        self._known = True
        if not self._rename or not isinstance(reply.get("model"), str):
            return False
        reply["model"] = self.asked.model
        return True

    def _extended(self, value: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
        return {**value, "response": {**value["response"], **extra}}


class CompactionWhole(_Response, ObjectWhole):
    """A compacted conversation."""

    def _note(self, reply: dict[str, Any]) -> None:
        if not isinstance(reply.get("output"), list):
            raise Malformed("the reply has no output")
        self._note_response(reply)
        self._weigh(reply)
        self.found += harvest(self.asked.creates, reply)


def kept(asked: Asked, reply: Mapping[str, Any]) -> bool:
    """Whether the provider stores the response: it does unless it was told not to."""
    return asked.body.get("store") is not False and reply.get("store") is not False


def weight_of(output: Any) -> int:
    """Weight of output items: what they say, think, refuse and call."""
    weight = 0
    for item in output if isinstance(output, list) else ():
        if isinstance(item, dict):
            weight += sum(tokens.weight(item.get(name)) for name in _SAID)
            weight += sum(weight_of(item.get(name)) for name in ("content", "summary"))
    return weight
