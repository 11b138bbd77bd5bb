"""Events out of bytes: however the bytes are cut, the same events, each looked at once."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.sse import LONGEST, Splitter, TooLong, payload

pytestmark = pytest.mark.once

EVENTS = [b"data: one", b": a comment", b"event: x\ndata: two\nid: 5", b"data: three\ndata: lines"]


def spelt(ending: bytes) -> bytes:
    return b"".join(event.replace(b"\n", ending) + ending * 2 for event in EVENTS)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def events(parts: list[bytes]) -> list[bytes]:
    splitter = Splitter()
    return [event for part in parts for event in splitter.feed(part)]


@given(st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 10_000), max_size=40))
def test_any_cut_of_the_bytes_gives_the_same_events(ending: bytes, places: list[int]) -> None:
    assert events(cut(spelt(ending), places)) == EVENTS


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_byte_by_byte_an_event_is_out_with_its_last_byte(ending: bytes) -> None:
    """A read that ends between \\r and \\n must not wait for a byte that never comes."""
    splitter, data, done = Splitter(), spelt(ending), []
    for at in range(len(data)):
        done += splitter.feed(data[at : at + 1])
    assert done == EVENTS


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=12))
def test_no_bytes_break_it_and_no_cut_changes_them(data: bytes, places: list[int]) -> None:
    assert events(cut(data, places)) == events([data])


def test_blank_lines_between_events_are_nothing() -> None:
    assert events([b"\n\n\r\n\ndata: a\n\n\n\n\n", b"\n", b"data: b\n\n"]) == [
        b"data: a",
        b"data: b",
    ]


def test_an_event_of_sixteen_megabytes_takes_linear_time() -> None:
    """Fed in reads of a socket; quadratic work would take minutes."""
    splitter, piece, began = Splitter(), b"x" * 16_384, time.monotonic()
    assert splitter.feed(b"data: ") == []
    for _ in range(1024):
        assert splitter.feed(piece) == []
    found = splitter.feed(b"\n\n")
    assert len(found) == 1
    assert len(found[0]) == 6 + 16 * 1024 * 1024
    assert time.monotonic() - began < 5


def test_an_event_without_end_is_given_up() -> None:
    splitter = Splitter(longest=1000)
    splitter.feed(b"x" * 1000)
    with pytest.raises(TooLong):
        splitter.feed(b"x")
    assert LONGEST == 32_000_000


def test_the_cap_is_for_one_event_not_for_the_stream() -> None:
    splitter = Splitter(longest=1000)
    for _ in range(50):
        assert splitter.feed(b"data: " + b"x" * 900 + b"\n\n") == [b"data: " + b"x" * 900]


@pytest.mark.parametrize(
    ("written", "data"),
    [
        (b"data: a", b"a"),
        (b"data:a", b"a"),
        (b"data:", b""),
        (b"event: x\ndata: a\nid: 1", b"a"),
        (b"data: a\ndata: b", b"a\nb"),
        (b": comment", None),
        (b"event: ping", None),
        (b"databank: a", None),
        (b" data: a", None),
    ],
)
def test_the_data_of_an_event(written: bytes, data: bytes | None) -> None:
    assert payload(written) == data
