"""Reading streams of images, transcripts and speech.

They are paid by the piece, so what has been delivered is counted in pieces: whoever is left with
one image of two pays one.
"""

from typing import Any

from proxy.providers import tokens
from proxy.providers.base import Asked, Usage
from proxy.providers.events import EventStream
from proxy.providers.reading import flow_of


class MediaStream(EventStream):
    """What they have in common: usage, where it is stated, is in the last event."""

    def _note(self, name: str, value: dict[str, Any]) -> bool:
        usage = flow_of(value.get("usage")) if name in self.ends else None
        if usage:
            before = self.usage or Usage(0, 0)
            self.usage = Usage(
                before.prompt + usage.prompt,
                before.completion + usage.completion,
                before.cached + usage.cached,
            )
        return False


class ImageStream(MediaStream):
    """Images as they get clearer. Each has an end of its own, and only the last one is the end."""

    ends = frozenset(("image_generation.completed", "image_edit.completed"))

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        count = asked.body.get("n")
        self._wanted = count if type(count) is int else 1
        self.units = 0

    def _note(self, name: str, value: dict[str, Any]) -> bool:
        if self._held:
            self.shown += 1  # this event lets it go
        self.preview = name not in self.ends
        if not self.preview:
            self.units = (self.units or 0) + 1
        self.final = (self.units or 0) >= self._wanted
        return super()._note(name, value)


class SoundStream(MediaStream):
    """One recording: whoever has got a part of it has got it."""

    units: int | None = 1

    def _note(self, name: str, value: dict[str, Any]) -> bool:
        if name not in self.ends:
            self.shown = 1
        return super()._note(name, value)


class TranscriptionStream(SoundStream):
    """Words as they are heard."""

    ends = frozenset(("transcript.text.done",))

    def _note(self, name: str, value: dict[str, Any]) -> bool:
        if name == "transcript.text.delta":
            self._weight += tokens.weight(value.get("delta"))
        return super()._note(name, value)


class SpeechStream(SoundStream):
    """Sound as events."""

    ends = frozenset(("speech.audio.done",))
