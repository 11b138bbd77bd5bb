"""What a body names: everything that could be somebody else's, and nothing that is only a label."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.references import (
    LABELS,
    MOST,
    OPAQUE,
    TooMany,
    form_references,
    references,
)

pytestmark = pytest.mark.once


def found(body: Any) -> dict[str, str]:
    """Place → id, of a body as it comes over the wire."""
    listed = references(orjson.loads(orjson.dumps(body)))
    return {reference.param: reference.id for reference in listed}


@pytest.mark.parametrize(
    ("body", "param", "id_"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "resp_1"),
        ({"input_file_id": "file-1"}, "input_file_id", "file-1"),
        ({"part_ids": ["part_1"]}, "part_ids[0]", "part_1"),
        ({"project_ids": ["proj_1"]}, "project_ids[0]", "proj_1"),
        ({"training_file": "file-1"}, "training_file", "file-1"),
        ({"validation_file": "file-1"}, "validation_file", "file-1"),
        ({"conversation": "conv_1"}, "conversation", "conv_1"),
        ({"conversation": {"id": "conv_1"}}, "conversation.id", "conv_1"),
        ({"prompt": {"id": "pmpt_1", "version": "2"}}, "prompt.id", "pmpt_1"),
        ({"voice": {"id": "voice_1"}}, "voice.id", "voice_1"),
        ({"audio": {"voice": {"id": "voice_1"}}}, "audio.voice.id", "voice_1"),
        ({"video": {"id": "video_1"}}, "video.id", "video_1"),
        ({"characters": [{"id": "char_1"}]}, "characters[0].id", "char_1"),
        ({"consent": "cons_1"}, "consent", "cons_1"),
        ({"model": "ft:gpt-5:org::1"}, "model", "ft:gpt-5:org::1"),
        ({"grader": {"model": "ft:gpt-5:org::1"}}, "grader.model", "ft:gpt-5:org::1"),
        ({"thread": {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}}},
         "thread.tool_resources.file_search.vector_store_ids[0]", "vs_1"),
        ({"messages": [{"content": [{"image_file": {"file_id": "file-1"}}]}]},
         "messages[0].content[0].image_file.file_id", "file-1"),
        ({"messages": [{"content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
         "messages[0].content[0].file.file_id", "file-1"),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
         "tools[0].container", "cntr_1"),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["file-1"]}}]},
         "tools[0].container.file_ids[0]", "file-1"),
        ({"tools": [{"type": "mcp", "tunnel_id": "tunnel_1"}]}, "tools[0].tunnel_id", "tunnel_1"),
        ({"input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}]},
         "input[1].id", "msg_1"),
        ({"input": [{"id": "msg_1"}]}, "input[0].id", "msg_1"),
        ({"input": [{"id": "msg_1", "type": None}]}, "input[0].id", "msg_1"),
        ({"input": [{"id": "msg_1", "role": "user"}]}, "input[0].id", "msg_1"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input[0].id", "rs_1"),
        ({"input": [{"type": "image_generation_call", "id": "ig_1"}]}, "input[0].id", "ig_1"),
        ({"body": {"input": [{"id": "msg_1"}]}}, "body.input[0].id", "msg_1"),
        ({"a_field_nobody_knows_yet_id": "x"}, "a_field_nobody_knows_yet_id", "x"),
        ([[{"file_id": "file-1"}]], "[0][0].file_id", "file-1"),
    ],
)  # fmt: skip
def test_what_is_named_is_found_where_it_stands(body: Any, param: str, id_: str) -> None:
    assert found(body) == {param: id_}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "x"}]},
        # What it approves is in the same conversation, and nowhere else.
        {"input": [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1"}]},
        {"messages": [{"tool_calls": [{"id": "call_1", "function": {"arguments": "{}"}}]}]},
        {"input": [{"type": "function_call", "id": "fc_1", "call_id": "call_1"}]},
        {"input": [{"id": "msg_1", "type": "message", "role": "assistant", "content": []}]},
        {"input": [{"id": "msg_1", "role": "assistant", "content": "x"}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "content": [{"text": "x"}]}]},
        {"input": [{"type": "image_generation_call", "id": "ig_1", "result": "iVBO"}]},
        {"custom_id": "1", "body": {"user_id": "x"}},
        {"tools": [{"type": "mcp", "connector_id": "connector_dropbox"}]},
        {"tools": [{"container": {"type": "auto"}}]},
        {"tools": [{"headers": {"x_api_id": "1"}}]},
        {"metadata": {"order_id": "1", "file_ids": "2"}},
        {"attributes": {"order_id": "1"}},
        {"tools": [{"function": {"parameters": {"default": {"file_id": "x"}}}}]},
        {"text": {"format": {"schema": {"const": {"file_id": "x"}}}}},
        {"input": [{"type": "mcp_list_tools", "tools": [{"input_schema": {"x_id": "x"}}]}]},
        {"grader": {"model": "gpt-5"}, "item": {"order_id": "1"}},
        {"file_id": None, "file_ids": [], "stop_token_ids": [1, 2], "previous_response_id": ""},
        {"prompt": "file_id", "voice": "alloy", "model": "gpt-5", "container": None},
        {"messages": [{"content": '{"file_id":"file-1"}'}]},
        {"prompt_cache_key": "x", "safety_identifier": "y", "user": "z", "id": "w"},
        "file_id",
        [],
        {},
    ],
)
def test_labels_and_what_is_the_clients_own_are_no_references(body: Any) -> None:
    assert found(body) == {}


def test_an_id_is_listed_once_and_the_plain_fields_of_an_object_come_first() -> None:
    body = {
        "file_id": "b",
        "input": [{"file_id": "a"}, {"file_ids": ["b", "c"]}],
        "training_file": "d",
    }

    assert list(found(body).items()) == [
        ("file_id", "b"),
        ("training_file", "d"),
        ("input[0].file_id", "a"),
        ("input[1].file_ids[1]", "c"),
    ]


def test_a_body_as_deep_as_parsing_allows_is_walked_and_so_is_a_deeper_one() -> None:
    body: Any = {"file_id": "deep"}
    for _ in range(50_000):
        body = [body]

    assert [reference.id for reference in references(body)] == ["deep"]


def test_more_ids_than_any_body_needs_are_refused_by_name() -> None:
    ids = [f"file-{n}" for n in range(MOST)]
    assert len(references({"file_ids": ids})) == MOST

    with pytest.raises(TooMany) as refused:
        references({"file_ids": [*ids, "one more"]})

    assert refused.value.param == f"file_ids[{MOST}]"


NAMES = st.one_of(
    st.sampled_from([
        *sorted(LABELS), *sorted(OPAQUE), "file_id", "file_ids", "training_file", "conversation",
        "container", "consent", "prompt", "voice", "video", "characters", "input", "id", "type",
        "model", "role", "content", "result", 'x"tool_call_id', 'x,"call_id', '{"call_id', "é_id",
        "\\_id", "_id", "_ids", "\n_id", '"_id":',
    ]),
    st.text(max_size=4),
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(["ft:x", "item_reference", "reasoning", "image_generation_call", "a"]),
    st.text(max_size=6),
)
BODIES = st.recursive(
    st.one_of(st.none(), TEXTS, st.integers(0, 9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)


@given(BODIES, st.sampled_from(["file_id", "vector_store_ids", "conversation", "x_id"]))
def test_a_reference_is_found_however_it_is_wrapped(body: Any, name: str) -> None:
    for wrapped in ({"a": [body, {name: "the one"}]}, [{"b": {name: "the one"}}, body]):
        assert "the one" in {reference.id for reference in references(wrapped)}


# ---- forms


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("video[id]", "x"), ("input_reference[file_id]", "x"), ("character_ids[]", "x"),
        ("character_ids[0]", "x"), ("characters[][id]", "x"), ("characters[0][id]", "x"),
        ("file_id", "x"), ("file_ids", "x"), ("consent", "x"), ("voice.id", "x"),
        ("video", '{"id": "x"}'), ("input_reference", ' {"file_id":"x"}'),
        ("character_ids", '["x"]'), ("characters", '[{"id":"x"}]'),
    ],
)  # fmt: skip
def test_the_fields_of_a_form_say_where_they_would_stand(name: str, value: str) -> None:
    ids = {reference.id: reference.param for reference in form_references({name: ["", value]})}

    assert ids["x"] == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metadata[order_id]", "1"), ("prompt", '{"file_id": "x"}'), ("prompt", "file_id"),
        ("model", "sora-2"), ("user_id", "1"), ("video", "{not json"), ("id", "x"), ("[]", "x"),
        ("metadata", '{"order_id": "1"}'), ("size", "1024x1024"),
    ],
)  # fmt: skip
def test_plain_fields_of_a_form_are_no_references(name: str, value: str) -> None:
    assert form_references({name: [value]}) == []


def test_a_fine_tuned_model_in_a_form_is_a_reference() -> None:
    assert [item.id for item in form_references({"model": ["ft:sora:1"]})] == ["ft:sora:1"]
