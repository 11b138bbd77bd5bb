"""Answers that are one object: untouched but for a name and a charge."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.terms import ObjectKind, Shape
from proxy.providers.base import Malformed, UpstreamFault, Usage
from proxy.providers.readers import whole_reader
from proxy.providers.reading import extended, renamed
from tests.proxy.providers.talk import asked, read_whole

pytestmark = pytest.mark.once

# As a provider writes it: numbers in spellings that no writer here would choose.
VECTORS = (
    b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1e-5,0.10,-3.0E+2]}],'
    b'\n "model" : "m","usage":{"prompt_tokens":4,"total_tokens":4}}\n'
)
PACKED = b'{"data":[{"embedding":"AACAPwAAAEA="}],"model":"m","usage":{"prompt_tokens":4}}'
SCORES = b'{"id":"modr-1","model":"m","results":[{"flagged":false,"category_scores":{"a":1e-9}}]}'
OBJECTS = (Shape.OBJECT, Shape.VIDEO, Shape.BATCH, Shape.FINE_TUNING, Shape.FILE, Shape.UPLOAD)


def call(shape: Shape, **more: Any) -> Any:
    return asked(**{"shape": shape, "path": "x", "body": {}, "stream": False, **more})


@pytest.mark.parametrize("raw", [VECTORS, PACKED])
def test_vectors_are_never_written_anew(raw: bytes) -> None:
    reader = read_whole(call(Shape.EMBEDDING), raw)
    assert reader.finish(None) == raw
    assert reader.usage == Usage(4, 0)
    assert reader.produced == 0
    named = read_whole(call(Shape.EMBEDDING, model='M-"1'), raw)
    out = named.finish({"yout": 1})
    name = b'"model" : "m"' if b'"model" : "m"' in raw else b'"model":"m"'
    expected = raw.replace(name, name.replace(b'"m"', b'"M-\\"1"')).rstrip()[:-1]
    assert out == expected + b',"yout":1}'


def test_a_moderation_states_no_usage() -> None:
    reader = read_whole(call(Shape.MODERATION, model="M-1"), SCORES)
    assert reader.usage is None
    assert reader.finish(None) == SCORES.replace(b'"m"', b'"M-1"')


@pytest.mark.parametrize(
    ("used", "stated"),
    [(31, Usage(31, 0)), (0, Usage(0, 0)), (None, None), (-1, None), (1.5, None), ("5", None),
     (10**13, None), (True, None)],
)  # fmt: skip
def test_a_grader_states_its_usage_in_one_number(used: Any, stated: Usage | None) -> None:
    reply = {"reward": 0.5, "metadata": {"name": "n", "token_usage": used}}
    assert read_whole(call(Shape.GRADER), reply).usage == stated


@pytest.mark.parametrize("metadata", [None, 5, [], {}])
def test_a_grader_without_metadata_states_none(metadata: Any) -> None:
    assert read_whole(call(Shape.GRADER), {"reward": 1, "metadata": metadata}).usage is None


@pytest.mark.parametrize("shape", OBJECTS)
def test_any_object_is_a_state_and_goes_on_as_it_came(shape: Shape) -> None:
    raw = b'{ "id":"x_1",  "object":"thing", "n":1.50, "error":{"message":"it failed"} }'
    reader = read_whole(call(shape), raw)
    assert reader.complete
    assert reader.state == json.loads(raw)
    assert reader.finish(None) == raw
    assert json.loads(reader.finish({"yout": 1})) == {**json.loads(raw), "yout": 1}


@pytest.mark.parametrize("shape", [*OBJECTS, Shape.EMBEDDING, Shape.MODERATION, Shape.GRADER])
@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"null", b"5", b"<html>", b'{"a":NaN}'])
def test_what_is_no_object_is_malformed(shape: Shape, body: bytes) -> None:
    with pytest.raises(Malformed):
        read_whole(call(shape), body)


@pytest.mark.parametrize("shape", [Shape.EMBEDDING, Shape.MODERATION])
@pytest.mark.parametrize("body", [b"{}", b'{"data":5,"results":"x"}', b'{"data":{},"results":{}}'])
def test_an_answer_without_its_rows_is_malformed(shape: Shape, body: bytes) -> None:
    with pytest.raises(Malformed):
        read_whole(call(shape), body)


@pytest.mark.parametrize("shape", [*OBJECTS, Shape.EMBEDDING, Shape.MODERATION, Shape.GRADER])
def test_an_error_in_a_200_is_the_providers_fault(shape: Shape) -> None:
    with pytest.raises(UpstreamFault):
        read_whole(call(shape), {"error": {"message": "boom"}})


def test_only_a_delete_may_be_answered_with_nothing() -> None:
    reader = read_whole(call(Shape.OBJECT, method="DELETE"), b"")
    assert reader.complete
    assert reader.state is None
    assert reader.finish({"yout": 1}) == b""
    assert not whole_reader(call(Shape.OBJECT)).complete


def test_the_tier_and_the_ids_are_taken() -> None:
    reply = {"id": "video_1", "object": "video", "model": "m", "seconds": "8",
             "service_tier": "priority"}  # fmt: skip
    reader = read_whole(call(Shape.VIDEO, creates=ObjectKind.VIDEO, model="M-1"), reply)
    assert [(found.kind, found.id) for found in reader.found] == [(ObjectKind.VIDEO, "video_1")]
    assert reader.tier == "priority"
    assert json.loads(reader.finish(None)) == {**reply, "model": "M-1"}


def test_a_body_nested_deeper_than_can_be_written_goes_on_all_the_same() -> None:
    deep = b'{"id":"x","deep":' + b'{"a":' * 500 + b"1" + b"}" * 501
    reader = read_whole(call(Shape.OBJECT), deep)
    assert reader.finish({"yout": 1}) == deep[:-1] + b',"yout":1}'
    assert read_whole(call(Shape.OBJECT), deep[:-1] + b',"yout":0}').finish({"yout": 1})


def test_a_field_that_is_there_already_is_there_once() -> None:
    out = read_whole(call(Shape.OBJECT), b'{"id":"x","yout":0}').finish({"yout": 1})
    assert out == b'{"id":"x","yout":1}'


keys = st.sampled_from(["model", "id", "data", "mod", 'a"model"', "yout"])
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
    | st.sampled_from(['"model"', '"model":"m"', "m"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(keys, trees, max_size=4), st.text(max_size=8), st.booleans())
def test_a_name_or_a_field_put_into_the_text_changes_nothing_else(
    reply: dict[str, Any], name: str, loose: bool
) -> None:
    """The text says what the object with that change says, whatever its strings look like."""
    reply["model"] = "m"
    raw = json.dumps(reply, indent=1 if loose else None).encode()
    assert orjson.loads(renamed(raw, dict(reply), name)) == {**reply, "model": name}
    assert orjson.loads(extended(raw, reply, {"yout": [1]})) == {**reply, "yout": [1]}
