"""The byte rule: ASCII bytes / 3 + other bytes / 2, and other prices for what is no text."""

from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.terms import Shape
from proxy.providers import tokens

pytestmark = pytest.mark.once

SCRIPTS = {
    "latin": "The quick brown fox jumps over the lazy dog near the river bank.",
    "cyrillic": "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "chinese": "敏捷的棕色狐狸跳过了河岸边的懒狗。",
    "arabic": "الثعلب البني السريع يقفز فوق الكلب الكسول قرب النهر.",
    "hindi": "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर से कूदती है।",
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_text_of_any_script_is_estimated_by_its_bytes(script: str) -> None:
    raw = SCRIPTS[script].encode()
    ascii_bytes = sum(1 for byte in raw if byte < 128)
    exact = Fraction(ascii_bytes, 3) + Fraction(len(raw) - ascii_bytes, 2)
    assert tokens.of_text(SCRIPTS[script]) == ceil(exact)


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("a", 1), ("abc", 1), ("abcd", 2), ("я", 1), ("яя", 2), ("a я", 2)]
)
def test_small_texts_round_up_once(text: str, count: int) -> None:
    assert tokens.of_text(text) == count


def test_a_lone_surrogate_has_a_size_too() -> None:
    assert tokens.of_text("\ud800") == 2


@given(st.lists(st.text(max_size=20), max_size=10))
def test_pieces_of_a_text_weigh_what_the_text_does(pieces: list[str]) -> None:
    """A stream costs the same however it is cut."""
    assert sum(map(tokens.weight, pieces)) == tokens.weight("".join(pieces))


@pytest.mark.parametrize("value", [None, 5, 1.5, True, [], {}, b"abc"])
def test_what_is_no_text_weighs_nothing(value: object) -> None:
    assert tokens.weight(value) == 0


def test_images_sounds_and_files_are_priced_by_kind_never_by_bytes() -> None:
    def priced(size: int, kind: str) -> int:
        part = {"type": kind, kind: {"url": "data:" + "A" * size, "data": "A" * size}}
        return tokens.of_messages([{"role": "user", "content": [part]}])

    for kind in ("image_url", "input_audio", "file"):
        assert priced(10, kind) == priced(5_000_000, kind)
    assert priced(10, "image_url") > 1000


@pytest.mark.parametrize("said", ["content", "text", "description"])
def test_a_text_beside_a_picture_is_none_of_the_picture(said: str) -> None:
    """Else a prompt of any length would cost one picture for whoever writes so."""
    part = {"type": "image_url", "image_url": {"url": "data:" + "A" * 9_000}}
    assert tokens.of_value({**part, said: "abc" * 500}) == tokens.of_value(part) + 500
    both = tokens.of_messages([{**part, said: "abc" * 500}])
    assert both == tokens.of_messages([part]) + 500


def test_a_message_counts_its_strings_and_its_framing() -> None:
    assert tokens.of_messages([]) == 0
    assert tokens.of_messages([{"content": "abc"}]) == 5
    assert tokens.of_messages([{"role": "user", "content": [{"type": "text", "text": "abc"}]}]) > 5
    assert tokens.of_messages("abc") == 1
    assert tokens.of_messages(["abc", None, 5]) == 3 * 4 + 1 + 0 + 1


ABC = {"type": "input_text", "text": "abc"}
IMAGE = {"type": "input_image", "image_url": "data:" + "A" * 100_000}
FILE = {"type": "input_file", "file_data": "A" * 100_000}


@pytest.mark.parametrize(
    ("shape", "body", "least", "most"),
    [
        (Shape.COMPLETION, {"prompt": "abcabc"}, 2, 2),
        (Shape.COMPLETION, {"prompt": ["abc", "abc"]}, 2, 2),
        (Shape.COMPLETION, {"prompt": [5, 6, 7]}, 3, 3),
        (Shape.COMPLETION, {"prompt": [[5, 6, 7], [8]]}, 4, 4),
        (Shape.COMPLETION, {"prompt": "abc", "suffix": "abc"}, 2, 2),
        (Shape.COMPLETION, {"prompt": None}, 0, 0),
        (Shape.COMPLETION, {"prompt": [5, "abcabc"]}, 3, 3),
        (Shape.EMBEDDING, {"input": "abcabc", "model": "long name", "user": "u"}, 2, 2),
        (Shape.EMBEDDING, {"input": ["abc", "abcabc"]}, 3, 3),
        (Shape.EMBEDDING, {"input": [[1] * 1000, [2] * 500]}, 1500, 1500),
        (Shape.EMBEDDING, {"input": [1] * 1000}, 1000, 1000),
        (Shape.MODERATION, {"input": "abc"}, 1, 1),
        (Shape.MODERATION, {"input": [{"type": "image_url", "image_url": {"url": "A" * 90_000}}]},
         1_100, 1_100),
        (Shape.RESPONSE, {"input": "abcabc"}, 2, 2),
        (Shape.RESPONSE, {"input": "abc", "instructions": "abc"}, 2, 2),
        (Shape.RESPONSE, {"input": [{"role": "user", "content": "abc"}]}, 5, 8),
        (Shape.RESPONSE, {"input": [{"role": "user", "content": [ABC, IMAGE]}]}, 1_100, 1_120),
        (Shape.RESPONSE, {"input": [{"role": "user", "content": [FILE]}]}, 4_000, 4_020),
        (Shape.RESPONSE, {"input": [IMAGE]}, 1_100, 1_110),
        (Shape.RESPONSE, {"input": [{"type": "image_generation_call", "result": "A" * 90_000}]},
         1_100, 1_110),
        (Shape.RESPONSE, {"input": [{"type": "function_call_output", "output": [IMAGE]}]},
         1_100, 1_120),
        (Shape.RESPONSE, {"input": "", "tools": [{"type": "function", "name": "f" * 300}]},
         100, 120),
        (Shape.RESPONSE, {"prompt": {"id": "p", "variables": {"a": "abc" * 50}}}, 50, 60),
        (Shape.RESPONSE, {"text": {"format": {"type": "json_schema", "x": "a" * 300}}}, 100, 120),
        (Shape.COMPACTION, {"input": "abc", "instructions": "abc"}, 2, 2),
        (Shape.RUN, {"additional_messages": [{"content": "abc" * 50}], "instructions": "abc"},
         51, 60),
        (Shape.RUN, {"thread": {"messages": [{"content": "abc" * 50}]}}, 50, 60),
        (Shape.RUN, {"thread": "odd", "additional_messages": 5}, 0, 1),
        (Shape.CHAT, {"messages": [{"content": "abc"}]}, 5, 5),
        (Shape.CHAT, {"messages": [], "tools": [{"name": "a" * 300}]}, 100, 110),
        (Shape.SPEECH, {"input": "abcabc", "voice": "alloy"}, 2, 2),
        (Shape.IMAGE, {"prompt": "abcabc"}, 2, 2),
        (Shape.FILE, {"file": "x" * 100}, 0, 0),
        (Shape.OBJECT, {"a": "x" * 100}, 0, 0),
    ],
)  # fmt: skip
def test_what_a_call_of_each_shape_asks(
    shape: Shape, body: dict[str, Any], least: int, most: int
) -> None:
    assert least <= tokens.of_prompt(shape, body) <= most


@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("odd", [None, 5, -1, True, [], {}, [[[]]], [None], {"a": None}, "x"])
def test_odd_values_break_nothing(shape: Shape, odd: Any) -> None:
    names = ("input", "prompt", "messages", "instructions", "tools", "thread", "text")
    assert tokens.of_prompt(shape, dict.fromkeys(names, odd)) >= 0
