"""Gemini and Perplexity through a real gateway, read by the official SDK in strict mode."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from proxy.models import Offer, Rest
from proxy.pool import bump
from tests import kit
from tests.kit import Person, Site, Supply
from tests.upstream import FaultServer, Reply, json_reply
from tests.upstream.gemini import (
    OPERATION,
    SIGNATURE,
    SOURCES,
    call,
    drawn,
    gemini_chat,
    gemini_stream,
    limited,
    operation,
    perplexity,
    vectors,
)

pytestmark = pytest.mark.once

MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [
    {"type": "function",
     "function": {"name": "weather", "strict": True,
                  "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                                 "required": ["city"], "additionalProperties": False}}}
]  # fmt: skip


class Answer(BaseModel):
    number: int


@pytest.fixture
def client(site: Site, alice: Person) -> Iterator[OpenAI]:
    base = f"{site.url}/v1"
    with OpenAI(
        base_url=base, api_key=alice.secret, _strict_response_validation=True, max_retries=0
    ) as made:
        yield made


def gemini(up: FaultServer, **more: Any) -> Supply:
    """One model, under the name Google lists it by."""
    made = kit.supply(up, kind="gemini", base_url=f"{up.url}/v1beta/openai", **more)
    Offer.objects.filter(provider=made.provider).update(upstream_id=f"models/{made.model}")
    bump()
    return made


@pytest.fixture
def chatty(up: FaultServer) -> Supply:
    return gemini(up)


def ask(client: OpenAI, supplied: Supply, **more: Any) -> Any:
    return client.chat.completions.create(
        **{"model": supplied.model, "messages": MESSAGES, "max_tokens": 50, **more}
    )


def target(up: FaultServer, number: int = -1) -> str:
    return up.seen[number].target.decode()


# ---- chat


def test_a_plain_answer(client: OpenAI, chatty: Supply, alice: Person) -> None:
    chatty.up.default = gemini_chat({"content": "Hi"})
    answer = ask(client, chatty, seed=5, user="me", metadata={"a": "b"}, store=False)
    assert answer.choices[0].message.content == "Hi"
    assert (answer.model, answer.object) == (chatty.model, "chat.completion")
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    assert target(chatty.up) == "/v1beta/openai/chat/completions"
    assert set(chatty.up.seen[0].json) == {"model", "messages", "max_tokens"}
    assert alice.closed()[0].completion_tokens == 5, "what was thought is paid for"


def test_a_stream(client: OpenAI, chatty: Supply, alice: Person) -> None:
    chatty.up.default = gemini_stream({"content": "Hel"}, {"content": "lo"}, done=False)
    with client.chat.completions.stream(
        model=chatty.model, messages=MESSAGES, stream_options={"include_usage": True}
    ) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
    final = stream.get_final_completion()
    assert text == final.choices[0].message.content == "Hello"
    assert final.choices[0].message.role == "assistant"
    assert final.usage
    assert final.usage.total_tokens == 9
    assert alice.closed()[0].usage_source == "upstream"


def test_tools_and_their_signed_thoughts(client: OpenAI, chatty: Supply) -> None:
    pieces: list[dict[str, Any]] = [
        {"tool_calls": [call(), call("weather", '{"city":"Bergen"}')]},
        {"content": ""},
    ]
    chatty.up.default = gemini_stream(*pieces)
    with client.chat.completions.stream(
        model=chatty.model, messages=MESSAGES, tools=TOOLS
    ) as stream:
        list(stream)
    message = stream.get_final_completion().choices[0].message
    assert message.tool_calls
    cities = [json.loads(tool.function.arguments)["city"] for tool in message.tool_calls]
    assert cities == ["Oslo", "Bergen"]
    chatty.up.default = gemini_chat({"content": "Rain"})
    results = [
        {"role": "tool", "tool_call_id": tool.id, "content": "wet"} for tool in message.tool_calls
    ]
    history = [*MESSAGES, message.to_dict(), *results]
    assert ask(client, chatty, messages=history, tools=TOOLS).choices[0].message.content == "Rain"
    back = chatty.up.seen[-1].json["messages"][1]["tool_calls"]
    signed = {"google": {"thought_signature": SIGNATURE}}
    assert [tool["extra_content"] for tool in back] == [signed] * 2


def test_structured_output(client: OpenAI, chatty: Supply) -> None:
    chatty.up.default = gemini_chat({"content": '{"number":4}'})
    parsed = client.chat.completions.parse(
        model=chatty.model, messages=MESSAGES, response_format=Answer
    )
    assert parsed.choices[0].message.parsed == Answer(number=4)
    sent = chatty.up.seen[0].json["response_format"]
    assert sent["json_schema"]["name"] == "Answer"


def test_a_field_it_would_disobey_is_a_bad_request(client: OpenAI, chatty: Supply) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, chatty, logit_bias={"5": 1})
    assert raised.value.param == "logit_bias"
    assert chatty.up.seen == []


def test_a_limit_a_minute_disables_no_key(client: OpenAI, chatty: Supply) -> None:
    body = limited("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "7s")
    chatty.up.default = Reply(429, (("Content-Type", "application/json"),), body)
    with pytest.raises(openai.RateLimitError) as raised:
        ask(client, chatty)
    assert raised.value.code == "upstream_rate_limited"
    assert 5 <= int(raised.value.response.headers["retry-after"]) <= 7
    rests = Rest.objects.filter(provider=chatty.provider)
    assert kit.eventually(lambda: list(rests.values_list("reason", flat=True))) == ["rate_limit"]


# ---- embeddings, images, films


def test_embeddings_in_the_shape_the_client_asks_for_by_itself(
    client: OpenAI, up: FaultServer
) -> None:
    supplied = gemini(up, modality="embedding")
    up.default = vectors([0.25, -1.5], [3.0, 0.5])
    # Strictly validated, the client would not take what it asks for itself.
    with OpenAI(base_url=client.base_url, api_key=client.api_key) as plain:
        answer = plain.embeddings.create(model=supplied.model, input=["a", "b"], dimensions=2)
    assert [row.embedding for row in answer.data] == [[0.25, -1.5], [3.0, 0.5]]
    assert answer.model == supplied.model
    assert target(up) == f"/v1beta/models/{supplied.model}:batchEmbedContents"
    assert up.seen[0].header("x-goog-api-key") == supplied.keys[0]
    assert up.seen[0].header("authorization") is None


def test_images_made_and_edited(client: OpenAI, up: FaultServer, alice: Person) -> None:
    supplied = gemini(up, modality="image", max_output=None)
    picture = base64.b64encode(b"\x89PNG").decode()
    up.default = drawn(picture)
    made = client.images.generate(model=supplied.model, prompt="A cat", size="1024x1024")
    assert made.data
    assert made.data[0].b64_json == picture
    assert target(up) == f"/v1beta/models/{supplied.model}:generateContent"
    edited = client.images.edit(
        model=supplied.model, prompt="Blue", image=("a.png", b"\x89PNG", "image/png")
    )
    assert edited.data
    assert up.seen[1].json["contents"][0]["parts"][0]["inlineData"]["data"] == picture
    stream = client.images.generate(model=supplied.model, prompt="A cat", stream=True)
    assert [event.type for event in stream] == ["image_generation.completed"]
    up.default = json_reply({"candidates": [{"finishReason": "IMAGE_SAFETY"}]})
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(model=supplied.model, prompt="A bad cat")
    assert raised.value.param == "prompt"
    alice.closed(4)
    assert alice.used("image") == 3, "what was filtered is free"


@pytest.mark.filterwarnings("ignore:The Sora API")
def test_a_film_from_its_beginning_to_its_bytes(
    client: OpenAI, up: FaultServer, alice: Person
) -> None:
    supplied = gemini(up, modality="video", max_output=None, model=kit.unique("veo-3.1"))
    up.default = json_reply(operation())
    film = client.videos.create(model=supplied.model, prompt="A cat", seconds="8")
    assert (film.status, film.model, film.seconds) == ("queued", supplied.model, "8")
    assert target(up) == f"/v1beta/models/{supplied.model}:predictLongRunning"
    assert client.videos.retrieve(film.id).status == "in_progress"
    assert target(up) == f"/v1beta/{OPERATION}"
    with pytest.raises(openai.BadRequestError):
        client.videos.download_content(film.id)
    up.default = json_reply(operation(done=True))
    assert client.videos.retrieve(film.id).status == "completed"
    assert [item.id for item in client.videos.list()] == [film.id]
    up.on(
        Reply(200, (("Content-Type", "video/mp4"),), b"\x00film"),
        path_suffix="/files/f1lm:download",
    )
    assert client.videos.download_content(film.id).read() == b"\x00film"
    assert target(up) == "/download/v1beta/files/f1lm:download?alt=media"
    assert {seen.header("x-goog-api-key") for seen in up.seen} == {supplied.keys[0]}
    entry = alice.closed()[0]
    assert (entry.end_reason, alice.used("video.other")) == ("completed", 1)


# ---- Perplexity


def test_perplexitys_sources_reach_the_client(client: OpenAI, up: FaultServer) -> None:
    supplied = kit.supply(up, kind="perplexity", base_url=up.url)
    up.default = perplexity
    more = {"search_mode": "academic", "return_related_questions": True}
    answer = ask(client, supplied, extra_body=more)
    assert target(up) == "/chat/completions"
    assert more.items() <= up.seen[0].json.items()
    assert answer.model_extra.items() >= SOURCES.items()
    assert answer.usage.model_extra["cost"] == {"total_cost": 0.006}
    options = {"include_usage": True}
    *chunks, last = ask(client, supplied, stream=True, stream_options=options, extra_body=more)
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == "Hello"
    assert chunks[-1].model_extra.items() >= SOURCES.items()
    assert (last.choices, last.usage.model_extra["num_search_queries"]) == ([], 1)
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, supplied, tools=TOOLS)
    assert raised.value.param == "tools"


def test_perplexity_answers_as_asked_for_json(client: OpenAI, up: FaultServer) -> None:
    supplied = kit.supply(up, kind="perplexity", base_url=up.url)
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": '{"number":4}'}}
    up.default = json_reply({"id": "p", "created": int(time.time()), "choices": [choice]})
    parsed = client.chat.completions.parse(
        model=supplied.model, messages=MESSAGES, response_format=Answer
    )
    assert parsed.choices[0].message.parsed == Answer(number=4)


# ---- responses, which neither has: by way of their chat


def test_responses_of_gemini(client: OpenAI, chatty: Supply) -> None:
    chatty.up.default = gemini_chat({"content": "Hi"})
    answer = client.responses.create(model=chatty.model, input="Hello", store=False)
    assert answer.output_text == "Hi"
    assert answer.usage
    assert answer.usage.output_tokens_details.reasoning_tokens == 3
    pieces: list[dict[str, Any]] = [{"tool_calls": [call()]}, {"content": ""}]
    chatty.up.default = gemini_stream(*pieces, done=False)
    tools: list[Any] = [{"type": "function", "strict": True, **TOOLS[0]["function"]}]
    events = list(
        client.responses.create(
            model=chatty.model, input="Hello", store=False, stream=True, tools=tools
        )
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    called = events[-1].response.output[0]
    assert called.type == "function_call"
    assert json.loads(called.arguments) == {"city": "Oslo"}


def test_responses_of_perplexity(client: OpenAI, up: FaultServer) -> None:
    supplied = kit.supply(up, kind="perplexity", base_url=up.url)
    up.default = perplexity
    stream = client.responses.create(model=supplied.model, input="Hello", store=False, stream=True)
    *_, last = stream
    assert last.type == "response.completed"
    assert last.response.output_text == "Hello"
