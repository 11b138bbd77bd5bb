"""Which reader a call's answer needs: by its shape, whole or as a stream."""

from collections.abc import Callable, Sequence

from bsod.lib.terms import Shape
from proxy.providers import media, responses, runs, whole
from proxy.providers.base import Asked, StreamReader, WholeReader
from proxy.providers.chat import ChatStream, ChatWhole
from proxy.providers.completions import CompletionStream, CompletionWhole

_WHOLE: dict[Shape, Callable[[Asked], WholeReader]] = {
    Shape.RESPONSE: responses.ResponseWhole,
    Shape.COMPACTION: responses.CompactionWhole,
    Shape.EMBEDDING: whole.EmbeddingWhole,
    Shape.MODERATION: whole.ModerationWhole,
    Shape.GRADER: whole.GraderWhole,
    Shape.IMAGE: whole.ImageWhole,
    Shape.TRANSCRIPTION: whole.TranscriptionWhole,
    Shape.SPEECH: whole.BytesWhole,
    Shape.CONTENT: whole.BytesWhole,
    Shape.RUN: runs.RunWhole,
}
_STREAM: dict[Shape, Callable[[Asked], StreamReader]] = {
    Shape.RUN: runs.RunStream,
    Shape.IMAGE: media.ImageStream,
    Shape.TRANSCRIPTION: media.TranscriptionStream,
    Shape.SPEECH: media.SpeechStream,
}


def whole_reader(asked: Asked, foreign: Sequence[str] = ()) -> WholeReader:
    """`foreign`: fields the provider adds to completions, which are taken out."""
    if asked.shape is Shape.CHAT:
        return ChatWhole(asked, foreign)
    if asked.shape is Shape.COMPLETION:
        return CompletionWhole(asked, foreign)
    return _WHOLE.get(asked.shape, whole.ObjectWhole)(asked)


def stream_reader(asked: Asked, foreign: Sequence[str] = ()) -> StreamReader:
    """The reader of a stream; of a shape that has none, of a response's events."""
    if asked.shape is Shape.CHAT:
        return ChatStream(asked, foreign)
    if asked.shape is Shape.COMPLETION:
        return CompletionStream(asked, foreign)
    if asked.path.startswith("threads/"):
        # The answer to `submit_tool_outputs` is how its run goes on.
        return runs.RunStream(asked)
    return _STREAM.get(asked.shape, responses.ResponseStream)(asked)
