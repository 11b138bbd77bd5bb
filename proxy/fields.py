"""What this server reads of a body, field by field: the bounds its readers keep, and the words the
reference and the OpenAPI document say of them.

A field that is not here is passed on to the provider as it is. `tests/proxy/test_fields.py` holds
the table to `gateway/reading.py`: what is read is here, and what is here is read or the prompt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from bsod.lib.terms import Shape
from proxy.route import ReplyKind, Route

MOST_TOKENS = 10_000_000
MOST_CHOICES = 128
MOST_SECONDS = 3_600
FILM_SECONDS = 4  # what a film has that asks for no length
RUN_TOKENS = 4096  # what a run may write that sets no limit
MOST_EPOCHS = 1_000


@dataclass(frozen=True, slots=True)
class Field:
    """`kinds` are JSON's names for types. What may be left out may also be null."""

    name: str
    kinds: tuple[str, ...]
    meaning: Any
    required: bool = False
    most: int | None = None
    """The largest whole number; the least is 1."""
    default: Any = None

    @property
    def kind(self) -> str:
        """Its types in words; "": anything."""
        some, last = ", ".join(self.kinds[:-1]), "".join(self.kinds[-1:])
        return gettext("%(some)s or %(last)s") % {"some": some, "last": last} if some else last

    @property
    def bounds(self) -> str:
        """What a value may be, and what it is when left out, in words."""
        parts = [f"1–{self.most:,}".replace(",", "\u2009")] if self.most else []
        if self.default is not None:
            shown = str(self.default).lower() if isinstance(self.default, bool) else self.default
            parts.append(gettext("%(value)s if left out") % {"value": shown})
        return ", ".join(parts)

    def schema(self) -> dict[str, Any]:
        """The same for OpenAPI."""
        kinds = [*self.kinds] if self.required or not self.kinds else [*self.kinds, "null"]
        made: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
        if self.most:
            made |= {"minimum": 1, "maximum": self.most}
        if self.required and kinds == ["array"]:
            made["minItems"] = 1
        if self.default is not None:
            made["default"] = self.default
        return {**made, "description": str(self.meaning)}


_TEXT, _LIST, _OBJECT, _FLAG, _NUMBER = (
    ("string",), ("array",), ("object",), ("boolean",), ("integer",)
)  # fmt: skip
_ASKED = _("Counted as part of the prompt.")


def _part(name: str, kinds: tuple[str, ...]) -> Field:
    return Field(name, kinds, _ASKED)


def _limits(main: str) -> tuple[Field, ...]:
    """The three names of one limit, the shape's own first."""
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    first = _("The most tokens of an answer: reserved before the call, what was used is charged.")
    other = _("Another name of the limit; the smallest one counts.")
    order = sorted(names, key=lambda name: name != main)
    return tuple(
        Field(name, _NUMBER, first if name == main else other, most=MOST_TOKENS) for name in order
    )


_MODEL = Field("model", _TEXT, _("An id of GET /v1/models."))
_STREAM = Field(
    "stream", _FLAG, _("The answer as server-sent events, as it is made."), default=False
)
_OPTIONS = Field(
    "stream_options", _OBJECT, _("With `include_usage` the last event says what was used.")
)
_CHOICES = (
    Field("n", _NUMBER, _("How many answers; each is charged."), most=MOST_CHOICES, default=1),
    Field("best_of", _NUMBER, _("How many are made to choose from; each is charged."),
          most=MOST_CHOICES, default=1),
)  # fmt: skip
_FAST = (
    Field("service_tier", _TEXT, _("`priority` and `fast` are fast mode: 2.5 times the price.")),
    Field("priority", (), _("`fast` is fast mode in its older spelling.")),
)
_STORE = Field("store", _FLAG, _("Keeps the answer at the provider, to be read again."))
_TURNS = Field("input", ("string", "array"), _("What is asked: a text, or what was said so far."))
_TEMPLATE = Field("prompt", _OBJECT, _("A prompt kept at the provider; its `variables` count."))
_TEXTS = Field("input", ("string", "array"), _("A text, or a list of them."))
_DRAWN = Field("prompt", _TEXT, _("What is to be made."))
_INSTRUCTIONS = _part("instructions", _TEXT)

FIELDS: Mapping[Shape, tuple[Field, ...]] = {
    Shape.CHAT: (
        Field("messages", _LIST, _("What was said so far, the oldest first."), required=True),
        *_limits("max_completion_tokens"), *_CHOICES, _OPTIONS, replace(_STORE, default=False),
        _part("tools", _LIST), _part("functions", _LIST), _part("response_format", _OBJECT),
        _part("prediction", _OBJECT), *_FAST,
    ),
    Shape.COMPLETION: (
        Field("prompt", ("string", "array"), _("A text, or a list of them, each one charged.")),
        *_limits("max_tokens"), *_CHOICES, _OPTIONS, _part("suffix", _TEXT), *_FAST,
    ),
    Shape.RESPONSE: (
        _TURNS, *_limits("max_output_tokens"), replace(_STORE, default=True),
        Field("background", _FLAG, _("Answered at once and worked on; charged when it ends."),
              default=False),
        _INSTRUCTIONS, _part("tools", _LIST), _part("text", _OBJECT), _TEMPLATE, *_FAST,
    ),
    Shape.COMPACTION: (_TURNS, *_limits("max_output_tokens"), _INSTRUCTIONS, _TEMPLATE, *_FAST),
    Shape.EMBEDDING: (_TEXTS, *_FAST),
    Shape.MODERATION: (_TEXTS, *_FAST),
    Shape.GRADER: (
        *_limits("max_completion_tokens"), _part("grader", _OBJECT), _part("item", _OBJECT),
        _part("model_sample", _TEXT), *_FAST,
    ),
    Shape.IMAGE: (
        _DRAWN,
        Field("n", _NUMBER, _("How many images; each is charged."), most=MOST_CHOICES, default=1),
    ),
    Shape.TRANSCRIPTION: (Field("prompt", _TEXT, _("Words that help to understand it.")),),
    Shape.SPEECH: (
        Field("input", _TEXT, _("What is to be said.")), _INSTRUCTIONS,
        Field("stream_format", _TEXT, _("`sse`: the answer as server-sent events.")),
    ),
    Shape.VIDEO: (
        _DRAWN,
        Field("seconds", ("integer", "string"),
              _("How long it is to be, charged by the second; what is made of a film is as long as "
                "that."), most=MOST_SECONDS, default=FILM_SECONDS),
    ),
    Shape.RUN: (
        Field("assistant_id", _TEXT, _("An assistant of yours.")),
        Field("max_completion_tokens", _NUMBER, _("The most tokens of all its steps together."),
              most=MOST_TOKENS, default=RUN_TOKENS),
        _INSTRUCTIONS, _part("additional_instructions", _TEXT), _part("additional_messages", _LIST),
        _part("thread", _OBJECT), _part("tools", _LIST),
    ),
    Shape.BATCH: (
        Field("input_file_id", _TEXT, _("A file of yours: every line of it is a call, checked "
                                        "like one."), required=True),
        Field("endpoint", _TEXT, _("The path that all its lines ask."), required=True),
    ),
    Shape.FINE_TUNING: (
        Field("training_file", _TEXT, _("A file of yours.")),
        Field("hyperparameters", _OBJECT, _("`n_epochs`, up to 1000, is how often the file is "
                                            "charged; 3 if it does not say.")),
        Field("method", _OBJECT, _("May have `hyperparameters` of its own.")),
    ),
}  # fmt: skip


def of(route: Route) -> list[Field]:
    """The fields of a route's body that mean something here, in the order they are shown."""
    if not route.body_limit:
        return []
    own = FIELDS.get(route.shape, ())
    found = [field for field in own if field.required]
    if route.modality:
        asked = not (route.default_model or route.nameless)
        model = replace(_MODEL, required=asked, default=route.default_model or None)
        found.insert(0, model)
    found += [field for field in own if not field.required]
    if route.reply is ReplyKind.STREAM:
        found.append(_STREAM)
    return found
