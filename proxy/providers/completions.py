"""Reading legacy text completions, whole and streamed: chat with `text` where that has messages."""

from typing import Any

from proxy.providers import tokens
from proxy.providers.chat import ChatStream, ChatWhole, Choices


class _Text(Choices):
    """Where a completion's text stands."""

    def _note(self, reply: dict[str, Any], part: str) -> None:
        super()._note(reply, part)
        choices = reply.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            self._weight += tokens.weight(choice.get("text"))


class CompletionWhole(_Text, ChatWhole):
    """A text completion in one JSON body."""


class CompletionStream(_Text, ChatStream):
    """A text completion as a stream of chunks, which look like the whole answer does."""

    object_name = "text_completion"

    def _as_delta(self, choice: Any) -> Any:
        return choice
