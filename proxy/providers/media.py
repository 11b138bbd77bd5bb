"""Reading streams of images, transcripts and speech."""

from typing import Any

from proxy.providers import tokens
from proxy.providers.base import Usage
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
    final = False


class TranscriptionStream(MediaStream):
    """Words as they are heard."""

    ends = frozenset(("transcript.text.done",))

    def _note(self, name: str, value: dict[str, Any]) -> bool:
        if name == "transcript.text.delta":
            self._weight += tokens.weight(value.get("delta"))
        return super()._note(name, value)


class SpeechStream(MediaStream):
    """Sound as events."""

    ends = frozenset(("speech.audio.done",))
