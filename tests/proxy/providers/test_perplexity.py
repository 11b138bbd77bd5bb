"""Perplexity: what passes in both directions, and what it cannot do."""

import json
from typing import Any

import pytest

from bsod.lib.terms import Blame
from proxy.providers.base import Malformed, Refused, Usage
from proxy.providers.perplexity import MODELS, Perplexity
from tests.proxy.providers.talk import asked, played, said
from tests.upstream.gemini import SEARCHED, SOURCES, searched

pytestmark = pytest.mark.once

PERPLEXITY = Perplexity()


def sent(**body: Any) -> dict[str, Any]:
    turns = {"messages": [{"role": "user", "content": "Hi"}]}
    out = PERPLEXITY.prepare(asked(body={**turns, **body}, upstream_model="sonar"), "k")
    assert out.target == "/chat/completions"
    assert isinstance(out.body, bytes)
    value: dict[str, Any] = json.loads(out.body)
    return value


def test_its_own_fields_of_a_request_pass() -> None:
    own: dict[str, Any] = {
        "search_domain_filter": ["-a.example"], "search_recency_filter": "week",
        "search_mode": "academic", "return_images": True, "return_related_questions": True,
        "web_search_options": {"search_context_size": "low"}, "top_k": 3, "temperature": 0.1,
        "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
        "reasoning_effort": "low", "disable_search": False,
    }  # fmt: skip
    assert own.items() <= sent(**own).items()


def test_what_says_nothing_of_the_answer_is_left_out() -> None:
    body = sent(seed=1, tools=[], tool_choice="auto", n=1, store=False, metadata={}, stop=None,
                parallel_tool_calls=True, service_tier="priority", logprobs=False)  # fmt: skip
    assert set(body) == {"model", "messages", "max_tokens", "stream_options"}
    messages = [{"role": "developer", "content": "x"}]
    assert sent(messages=messages)["messages"][0]["role"] == "system"


@pytest.mark.parametrize(
    ("name", "value"),
    [("tools", [{"type": "function"}]), ("tool_choice", "required"), ("n", 2), ("store", True),
     ("functions", [{}]), ("logprobs", True), ("logit_bias", {"1": 1})],
)  # fmt: skip
def test_what_it_cannot_do_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Refused) as refused:
        sent(**{name: value})
    assert refused.value.param == name
    assert name in refused.value.message


def test_sources_and_usage_survive_a_stream_whole() -> None:
    reader = PERPLEXITY.stream_reader(asked(model="mine", wants_usage=True))
    out = played(reader, *searched("Hel", "lo"))  # type: ignore[arg-type]  # a chat's reader
    for chunk in out:
        assert SOURCES.items() <= chunk.items()
        assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", "mine")
        assert chunk["usage"] is None, "said once, and last"
    deltas = [chunk["choices"][0]["delta"] for chunk in out]
    assert deltas == [{"role": "assistant", "content": "Hel"}, {"content": "lo"}]
    assert reader.complete
    last, done = said(reader.finish(None))
    assert (last["usage"], last["choices"], done) == (SEARCHED, [], "[DONE]")
    assert reader.usage == Usage(4, 6)
    assert reader.tier == "default"


def test_sources_and_usage_survive_a_whole_answer() -> None:
    reader = PERPLEXITY.whole_reader(asked(stream=False, model="mine"))
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    reply = {**searched("Hello")[0], "choices": [choice]}
    reader.whole(json.dumps(reply).encode())
    shown = json.loads(reader.finish({"yout": {"credits_charged": 5}}))
    assert shown == {**reply, "model": "mine", "yout": {"credits_charged": 5}}


def test_who_asks_for_a_concise_stream_reads_what_its_chunks_are() -> None:
    events = [{**searched("a")[0], "object": "chat.reasoning"}]
    reader = PERPLEXITY.stream_reader(asked(body={"stream_mode": "concise"}))
    out = played(reader, *events)  # type: ignore[arg-type]  # a chat's reader
    assert out[0]["object"] == "chat.reasoning"


def test_a_call_proves_a_key_and_the_models_stand_here() -> None:
    out = PERPLEXITY.list_models("k")
    assert (out.method, out.target) == ("POST", "/chat/completions")
    assert isinstance(out.body, bytes)
    assert json.loads(out.body)["max_tokens"] == 1
    listed = PERPLEXITY.catalog({"choices": []})
    assert [model.id for model in listed] == [model.id for model in MODELS]
    assert {"sonar", "sonar-pro", "sonar-reasoning-pro", "sonar-deep-research"} == {
        model.id for model in listed
    }
    with pytest.raises(Malformed):
        PERPLEXITY.catalog({"data": []})


@pytest.mark.parametrize(
    ("status", "body", "blame"),
    [
        (401, {"error": {"type": "insufficient_quota"}}, Blame.BILLING),
        (401, {"error": {"message": "Invalid API key"}}, Blame.AUTH),
        (400, {"error": {"message": "bad", "type": "invalid_message"}}, Blame.CLIENT),
        (429, {"error": {"message": "Request rate limit exceeded"}}, Blame.RATE_LIMIT),
        (503, {}, Blame.FAILURE),
    ],
)
def test_whose_fault_a_refusal_is(status: int, body: Any, blame: Blame) -> None:
    assert PERPLEXITY.judge(status, {}, json.dumps(body).encode()).blame is blame
