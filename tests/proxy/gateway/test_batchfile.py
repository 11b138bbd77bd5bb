"""The input file of a batch: every line is checked, whatever the pieces it comes in."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bsod.lib.terms import Shape
from proxy.errors import ApiError
from proxy.gateway import batchfile
from proxy.gateway.batchfile import ENDPOINTS, BatchLines, Plan
from proxy.providers import tokens

pytestmark = pytest.mark.once
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
COMPLETIONS, MODERATIONS = "/v1/completions", "/v1/moderations"
SAID = [{"role": "user", "content": "Hello, how are you?"}]


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-5.4", "messages": SAID, **more}


def line(number: int = 1, body: Any = None, **more: Any) -> bytes:
    row = {
        "custom_id": f"line-{number}", "method": "POST", "url": CHAT,
        "body": chat() if body is None else body, **more,
    }  # fmt: skip
    return orjson.dumps(row)


def plan(*lines: bytes, endpoint: str = CHAT) -> Plan:
    return fed([b"\n".join(lines)], endpoint)


def fed(pieces: Iterable[bytes], endpoint: str = CHAT) -> Plan:
    reader = BatchLines(endpoint)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def refused(*lines: bytes, endpoint: str = CHAT) -> str:
    with pytest.raises(ApiError) as caught:
        plan(*lines, endpoint=endpoint)
    error = caught.value
    assert (error.status, error.param) == (400, "input_file_id")
    return error.message


PROMPT = tokens.of_prompt(Shape.CHAT, chat())


def test_lines_are_added_up() -> None:
    found = plan(
        line(1), line(2, chat(max_tokens=100)), line(3, chat(max_completion_tokens=7, n=3)),
        line(4, chat(max_tokens=9, max_completion_tokens=5)), line(5, chat(max_tokens=None)),
    )  # fmt: skip
    output = 1024 + 100 + 21 + 5 + 1024
    assert found == Plan(CHAT, "gpt-5.4", 5, 5 * PROMPT, output, False, ())
    assert PROMPT > 0


@given(st.lists(st.integers(1, 60), max_size=40))
def test_pieces_of_any_size_say_the_same(sizes: list[int]) -> None:
    text = b"\n".join([line(1), b"", line(2, chat(max_tokens=3)), b"  ", line(3)]) + b"\r\n\n"
    pieces, at = [], 0
    for size in [*sizes, len(text)]:
        pieces.append(text[at : at + size])
        at += size
    assert fed(pieces) == fed([text])
    assert fed(pieces).lines == 3


@pytest.mark.parametrize(
    ("endpoint", "body", "output"),
    [
        (RESPONSES, {"input": "Hi", "max_output_tokens": 9}, 9),
        (RESPONSES, {"input": "Hi"}, 1024),
        (COMPLETIONS, {"prompt": "Hi", "max_tokens": 4, "n": 2}, 8),
        (COMPLETIONS, {"prompt": ["Hi", "Ho"], "max_tokens": 4}, 8),
        (EMBEDDINGS, {"input": ["Hi", "Ho"]}, 0),
        (MODERATIONS, {"input": "Hi"}, 0),
    ],
)
def test_each_endpoint_is_read_as_its_calls_are(
    endpoint: str, body: dict[str, Any], output: int
) -> None:
    named = {"model": "m", **body}
    found = plan(line(1, named, url=endpoint), endpoint=endpoint)
    prompt = tokens.of_prompt(ENDPOINTS[endpoint].shape, named)
    assert (found.model, found.prompt, found.output) == ("m", prompt, output)
    assert prompt > 0


def test_moderations_need_no_model() -> None:
    found = plan(line(1, {"input": "Hi"}, url=MODERATIONS), endpoint=MODERATIONS)
    assert found.model == ENDPOINTS[MODERATIONS].default_model != ""


@pytest.mark.parametrize("endpoint", ["/v1/images/generations", "/v1/files", "", None, 5, [CHAT]])
def test_other_endpoints_have_no_batches(endpoint: Any) -> None:
    with pytest.raises(ApiError) as caught:
        BatchLines(endpoint)
    assert (caught.value.status, caught.value.param) == (400, "endpoint")
    assert CHAT in caught.value.message


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (b"{", "not valid JSON"),
        (b"\xef\xbb\xbf" + line(2), "not valid JSON"),
        (line(2) + b"\r" + line(3), "not valid JSON"),
        (line(2) + line(3), "not valid JSON"),
        (b'{"custom_id":"x","custom_id":"y"}', "twice"),
        (line(2).replace(b'"content"', b'"role":"system","content"'), "twice"),
        (line(2).replace(b"Hello", b"\\ud800"), "not valid JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (line(1), "'line-1' appears twice"),
        (line(2, custom_id=None), "custom_id"),
        (line(2, custom_id=""), "custom_id"),
        (line(2, custom_id=7), "custom_id"),
        (line(2, custom_id="x" * 513), "custom_id"),
        (line(2, method="GET"), "method"),
        (line(2, method="post"), "method"),
        (line(2, url=RESPONSES), "url"),
        (line(2, url="https://elsewhere.example" + CHAT), "url"),
        (line(2, url=CHAT + "/"), "url"),
        (line(2, body=[]), "body"),
        (line(2, body="{}"), "body"),
        (line(2, chat(model="another")), "model"),
        (line(2, chat(model="GPT-5.4")), "model"),
        (line(2, chat(model=None)), "model"),
        (line(2, chat(model=["gpt-5.4"])), "model"),
        (line(2, {"model": "gpt-5.4"}), "messages"),
        (line(2, chat(max_tokens=-1)), "max_tokens"),
        (line(2, chat(max_tokens=0)), "max_tokens"),
        (line(2, chat(max_tokens=1.5)), "max_tokens"),
        (line(2, chat(max_tokens="9")), "max_tokens"),
        (line(2, chat(max_tokens=10**9)), "max_tokens"),
        (line(2, chat(n=0)), "'n'"),
        (line(2, chat(n=129)), "'n'"),
        (line(2, chat(n=True)), "'n'"),
        (line(2, chat(stream=True)), "stream"),
        (line(2, chat(background=True)), "background"),
        (line(2, chat(api_base="https://elsewhere.example")), "api_base"),
        (line(2, chat(extra_headers={})), "extra_headers"),
        (line(2, chat(fallbacks=["gpt-6"])), "fallbacks"),
    ],
)
def test_a_bad_line_is_named_by_its_number(wrong: bytes, says: str) -> None:
    message = refused(line(1), b"", wrong, line(9))
    assert message.startswith("Line 3 of the file: ")
    assert says in message


def test_a_file_without_lines_is_no_batch() -> None:
    assert "no lines" in refused(b"")
    assert "no lines" in refused(b"\n", b" ", b"\n")


@pytest.mark.parametrize("asked", [{"service_tier": "priority"}, {"service_tier": "fast"}])
def test_fast_mode_is_not_hidden_in_a_line(asked: dict[str, str]) -> None:
    assert not plan(line(1), line(2, chat(service_tier="default"))).fast
    assert plan(line(1), line(2, chat(**asked)), line(3)).fast


def test_what_lines_refer_to_is_told_once() -> None:
    def about(name: str) -> dict[str, Any]:
        parts = [{"type": "file", "file": {"file_id": name}}]
        return chat(messages=[{"role": "user", "content": parts}], metadata={"file_id": "mine"})

    found = plan(line(1, about("file-a")), line(2, about("file-b")), line(3, about("file-a")))
    assert [ref.id for ref in found.refs] == ["file-a", "file-b"]
    answered = {"model": "m", "input": "x", "previous_response_id": "resp_1"}
    found = plan(line(1, answered, url=RESPONSES), endpoint=RESPONSES)
    assert [(ref.id, ref.param) for ref in found.refs] == [("resp_1", "previous_response_id")]


def test_size_lines_and_references_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchfile, "MOST_LINES", 3)
    assert plan(line(1), line(2), line(3)).lines == 3
    assert "at most 3 lines" in refused(line(1), line(2), line(3), line(4))
    monkeypatch.setattr(batchfile, "MOST_LINE", 500)
    assert "Line 2" in refused(line(1), line(2, chat(stop="x" * 500)))
    assert "longer than 500 bytes" in refused(b"x" * 501)
    monkeypatch.setattr(batchfile, "MOST_BYTES", 400)
    assert "larger than 400 bytes" in refused(line(1), line(2), line(3))
    monkeypatch.undo()
    monkeypatch.setattr(batchfile, "MOST_REFERENCES", 2)
    many = [chat(file_ids=["a", "b"]), chat(file_ids=["b", "c"])]
    assert "at most 2 objects" in refused(line(1, many[0]), line(2, many[1]))


def test_a_line_that_never_ends_is_not_gathered() -> None:
    reader, part = BatchLines(CHAT), b"x" * 1_000_000
    for _ in range(batchfile.MOST_LINE // len(part)):
        reader.feed(part)
    with pytest.raises(ApiError, match="longer than"):
        reader.feed(part)
