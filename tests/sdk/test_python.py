"""The official Python SDK against a running gateway: only the base URL and the key are ours."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests import kit
from tests.kit import Person, Site, Supply
from tests.sdk.gateway import arrived, not_before
from tests.upstream import FaultServer, chat, chat_stream, error

pytestmark = pytest.mark.once

MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def supplied(up: FaultServer) -> Supply:
    return kit.supply(up)


@pytest.fixture(params=["/v1", "/v1/", "/v1/index.php"])
def client(request: pytest.FixtureRequest, site: Site, alice: Person) -> Iterator[OpenAI]:
    with OpenAI(base_url=site.url + request.param, api_key=alice.secret) as made:
        yield made


@pytest.fixture
def plain(site: Site, alice: Person) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{site.url}/v1", api_key=alice.secret) as made:
        yield made


def ask(client: OpenAI, supplied: Supply, **more: Any) -> Any:
    return client.chat.completions.create(
        **{"model": supplied.model, "messages": MESSAGES, "max_tokens": 50, **more}
    )


def test_a_plain_answer(client: OpenAI, supplied: Supply, alice: Person) -> None:
    supplied.up.default = chat("Hi there", prompt_tokens=4, completion_tokens=2)
    answer = ask(client, supplied)
    assert answer.choices[0].message.content == "Hi there"
    assert answer.model == supplied.model
    assert answer.usage.total_tokens == 6
    assert answer._request_id == alice.closed()[0].id


def test_a_stream(client: OpenAI, supplied: Supply) -> None:
    supplied.up.default = chat_stream(["Hel", "lo"])
    chunks = list(ask(client, supplied, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello"
    assert {chunk.usage for chunk in chunks} == {None}


def test_a_stream_with_usage(plain: OpenAI, supplied: Supply) -> None:
    supplied.up.default = chat_stream(["Hel", "lo"], prompt_tokens=4, completion_tokens=2)
    *chunks, last = ask(plain, supplied, stream=True, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage.total_tokens == 6
    assert {chunk.usage for chunk in chunks} == {None}


def test_the_streaming_helper(plain: OpenAI, supplied: Supply) -> None:
    supplied.up.default = chat_stream(["Hel", "lo"])
    with plain.chat.completions.stream(model=supplied.model, messages=MESSAGES) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
    assert text == "Hello"
    assert stream.get_final_completion().choices[0].finish_reason == "stop"


def test_the_async_client(site: Site, supplied: Supply, alice: Person) -> None:
    supplied.up.default = chat_stream(["Hel", "lo"])

    async def go() -> list[str]:
        async with AsyncOpenAI(base_url=f"{site.url}/v1", api_key=alice.secret) as client:
            return await asyncio.gather(*(one(client) for _ in range(5)))

    async def one(client: AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(
            model=supplied.model, messages=MESSAGES, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(go()) == ["Hello"] * 5


def test_the_list_of_models(client: OpenAI, supplied: Supply) -> None:
    assert supplied.model in [model.id for model in client.models.list()]
    assert client.models.retrieve(supplied.model).owned_by == supplied.provider.slug


def test_a_raw_answer_has_our_headers(plain: OpenAI, supplied: Supply) -> None:
    supplied.up.default = chat()
    raw = plain.chat.completions.with_raw_response.create(
        model=supplied.model, messages=MESSAGES, max_tokens=50
    )
    assert raw.headers["x-attempts"] == "1"
    assert int(raw.headers["x-ratelimit-limit-requests"]) == 1000
    assert "openai-organization" not in raw.headers


def test_a_wrong_key_is_an_authentication_error_at_once(site: Site, supplied: Supply) -> None:
    carol = kit.person("carol")
    wrong = carol.secret[:-1] + ("A" if carol.secret[-1] != "A" else "B")
    with Counting(base_url=f"{site.url}/v1", api_key=wrong) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            ask(client, supplied)
        assert raised.value.code == "invalid_api_key"
        assert client.requests == 1
    assert supplied.up.seen == []


def test_an_unknown_model_is_not_found_at_once(site: Site, alice: Person, up: FaultServer) -> None:
    with Counting(base_url=f"{site.url}/v1", api_key=alice.secret) as client:
        with pytest.raises(openai.NotFoundError) as raised:
            client.chat.completions.create(model="no-such-model", messages=MESSAGES)
        assert raised.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("no-such-model")
        assert client.requests == 2


def test_a_bad_value_is_a_bad_request_that_names_it(plain: OpenAI, supplied: Supply) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        ask(plain, supplied, max_tokens=-1)
    assert raised.value.param == "max_tokens"


def test_a_wrong_method_is_json_that_says_which_is_right(plain: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        plain.get("/embeddings", cast_to=object)
    assert raised.value.status_code == 405
    assert raised.value.response.headers["allow"] == "OPTIONS, POST"
    assert raised.value.body == {
        "message": "GET is not allowed here.",
        "type": "invalid_request_error",
        "param": None,
        "code": "method_not_allowed",
        "allow": ["OPTIONS", "POST"],
        "hint": "Use OPTIONS, POST.",
    }


def test_an_exhausted_quota_costs_one_request(site: Site, supplied: Supply) -> None:
    poor = kit.person("poor", caps={"text.base": 10})
    with Counting(base_url=f"{site.url}/v1", api_key=poor.secret) as client:
        with pytest.raises(openai.RateLimitError) as raised:
            ask(client, supplied)
        assert raised.value.code == "quota_exceeded"
        assert raised.value.type == "insufficient_quota"
        assert _quota(raised.value) == {"bucket": "text.base", "limit": "key", "left": 10}
        assert client.requests == 1, "the SDK would try three times if it were not told"
    assert arrived(poor) == 1
    assert supplied.up.seen == []
    assert poor.entries() == []


def test_too_few_credits_cost_one_request(site: Site, supplied: Supply) -> None:
    poor = kit.person("poor", plan="pro", caps={"credits": 5})
    with Counting(base_url=f"{site.url}/v1", api_key=poor.secret) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            ask(client, supplied)
        assert raised.value.status_code == 402
        assert raised.value.code == "insufficient_credits"
        assert _quota(raised.value) == {"bucket": "credits", "limit": "key", "left": 5}
        assert client.requests == 1
    assert arrived(poor) == 1
    assert supplied.up.seen == []


def _quota(error: openai.APIStatusError) -> dict[str, Any]:
    """What the exception says of the quota, the numbers that change with the day left out."""
    assert isinstance(error.body, dict)
    quota = dict(error.body["quota"])
    assert quota.pop("needed") >= 10
    assert quota.pop("resets_at").endswith("Z")
    return quota


def test_one_request_too_many_a_minute_is_made_again_after_its_wait(
    site: Site, supplied: Supply, alice: Person
) -> None:
    not_before(alice, 0.7)
    began = time.monotonic()
    with Counting(base_url=f"{site.url}/v1", api_key=alice.secret) as client:
        assert ask(client, supplied).choices
        assert client.requests == 2
    assert time.monotonic() - began >= 0.95, "its own pause is half a second"
    assert (arrived(alice), len(alice.closed())) == (1, 1)


def test_a_failure_in_the_middle_of_a_stream_is_raised(plain: OpenAI, supplied: Supply) -> None:
    supplied.up.default = chat_stream(["word "] * 8).cut(body=1200)
    got = []
    with pytest.raises(openai.APIError) as raised:
        got.extend(ask(plain, supplied, stream=True))
    assert raised.value.code == "upstream_truncated"
    assert any(chunk.choices[0].delta.content for chunk in got), "what had come was delivered"


def test_a_providers_refusal_is_the_same_error_as_from_the_provider(
    plain: OpenAI, supplied: Supply
) -> None:
    supplied.up.default = error(400, "Unsupported value", param="temperature")
    with pytest.raises(openai.BadRequestError) as raised:
        ask(plain, supplied, temperature=9)
    assert raised.value.param == "temperature"
    assert "Unsupported value" in raised.value.message


class Counting(OpenAI):
    """The SDK as it is, with the requests it sends counted."""

    requests = 0

    def _prepare_request(self, request: Any) -> None:
        self.requests += 1
        super()._prepare_request(request)
