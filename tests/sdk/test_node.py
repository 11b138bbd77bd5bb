"""The official JavaScript client against a running gateway, run by Node."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import kit
from tests.kit import Person, Site, Supply
from tests.sdk.conftest import Call
from tests.sdk.gateway import arrived, not_before
from tests.sdk.house import HERE
from tests.upstream import FaultServer, chat, chat_stream

pytestmark = pytest.mark.once


@pytest.fixture
def supplied(up: FaultServer) -> Supply:
    return kit.supply(up)


@pytest.fixture
def ask(node: Call, site: Site, alice: Person, supplied: Supply) -> Call:
    """One of calls.mjs, as alice, of the supplied model; anything may be said otherwise."""

    def asked(call: str, **more: Any) -> dict[str, Any]:
        usual = {"baseURL": f"{site.url}/v1", "apiKey": alice.secret, "model": supplied.model}
        return node(**{**usual, "call": call, **more})

    return asked


@pytest.mark.parametrize("form", ["/v1", "/v1/", "/v1/index.php"])
def test_a_plain_answer(ask: Call, site: Site, supplied: Supply, alice: Person, form: str) -> None:
    supplied.up.default = chat("Привет", prompt_tokens=4, completion_tokens=2)
    answer = ask("plain", baseURL=site.url + form)
    assert (answer["text"], answer["model"]) == ("Привет", supplied.model)
    assert answer["usage"]["total_tokens"] == 6
    assert answer["id"] == alice.closed()[0].id


def test_a_stream(ask: Call, supplied: Supply) -> None:
    supplied.up.default = chat_stream(["При", "вет"])
    answer = ask("stream")
    assert answer["text"] == "Привет"
    assert set(answer["usages"]) == {None}


def test_a_stream_with_usage(ask: Call, supplied: Supply) -> None:
    supplied.up.default = chat_stream(["Hel", "lo"], prompt_tokens=4, completion_tokens=2)
    *before, last = ask("usage")["usages"]
    assert set(before) == {None}
    assert last["total_tokens"] == 6


def test_the_list_of_models(ask: Call, supplied: Supply) -> None:
    answer = ask("models")
    assert supplied.model in answer["ids"]
    assert answer["one"] == supplied.model


def test_a_wrong_key_is_an_authentication_error_at_once(ask: Call) -> None:
    answer = ask("plain", apiKey="bsod-wrong")
    assert answer["error"]["name"] == "AuthenticationError"
    assert answer["error"]["code"] == "invalid_api_key"
    assert answer["requests"] == 1


def test_an_unknown_model_is_not_found_at_once(ask: Call) -> None:
    answer = ask("plain", model="no-such-model")
    assert answer["error"]["name"] == "NotFoundError"
    assert answer["error"]["code"] == "model_not_found"
    assert answer["requests"] == 1


def test_a_wrong_method_is_json_that_says_which_is_right(ask: Call) -> None:
    error = ask("method")["error"]
    assert (error["api"], error["status"]) == (True, 405)
    assert error["body"]["allow"] == ["OPTIONS", "POST"]


def test_a_bad_value_is_a_bad_request_that_names_it(ask: Call) -> None:
    error = ask("plain", max_tokens=-1)["error"]
    assert (error["name"], error["param"]) == ("BadRequestError", "max_tokens")


@pytest.mark.parametrize(
    ("person", "status", "name", "code", "quota"),
    [
        ({"caps": {"text.base": 10}}, 429, "RateLimitError", "quota_exceeded", ("text.base", 10)),
        ({"plan": "pro", "caps": {"credits": 5}}, 402, "APIError", "insufficient_credits",
         ("credits", 5)),
    ],
    ids=["bucket", "credits"],
)  # fmt: skip
def test_an_exhausted_quota_costs_one_request(
    ask: Call, supplied: Supply, person: dict[str, Any], status: int, name: str, code: str,
    quota: tuple[str, int],
) -> None:  # fmt: skip
    poor = kit.person("poor", **person)
    answer = ask("plain", apiKey=poor.secret)
    error = answer["error"]
    assert (error["name"], error["status"], error["code"]) == (name, status, code)
    assert (error["body"]["quota"]["bucket"], error["body"]["quota"]["left"]) == quota
    assert (answer["requests"], arrived(poor)) == (1, 1)
    assert supplied.up.seen == []


def test_one_request_too_many_a_minute_is_made_again_after_its_wait(
    ask: Call, alice: Person
) -> None:
    not_before(alice, 1.9)  # the program has to start first
    answer = ask("plain")
    assert answer["text"]
    assert answer["requests"] == 2
    assert (arrived(alice), len(alice.closed())) == (1, 1)


def test_a_failure_in_the_middle_of_a_stream_is_raised(ask: Call, supplied: Supply) -> None:
    supplied.up.default = chat_stream(["word "] * 8).cut(body=1200)
    answer = ask("stream")
    assert answer["error"]["api"]
    assert answer["error"]["code"] == "upstream_truncated"
    assert answer["text"], "what had come was delivered"


def test_the_lock_pins_by_hash_and_names_no_host() -> None:
    text = (HERE / "package-lock.json").read_text()
    assert "://" not in text
    assert "resolved" not in text
    lock = json.loads(text)
    packages = {name: row for name, row in lock["packages"].items() if name}
    assert all(row["integrity"].startswith("sha512-") for row in packages.values())
    asked = json.loads(Path(HERE / "package.json").read_text())["dependencies"]
    assert asked == {name: packages[f"node_modules/{name}"]["version"] for name in asked}
