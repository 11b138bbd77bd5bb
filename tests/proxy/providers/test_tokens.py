"""The byte rule: ASCII bytes / 3 + other bytes / 2, and other prices for what is no text."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers import tokens

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


def test_a_message_counts_its_strings_and_its_framing() -> None:
    assert tokens.of_messages([]) == 0
    assert tokens.of_messages([{"content": "abc"}]) == 5
    assert tokens.of_messages([{"role": "user", "content": [{"type": "text", "text": "abc"}]}]) > 5
    assert tokens.of_messages("abc") == 1
    assert tokens.of_messages(["abc", None, 5]) == 3 * 4 + 1 + 0 + 1
