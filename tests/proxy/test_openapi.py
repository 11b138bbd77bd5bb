"""The OpenAPI document: every row of the table is in it, and it is one that tools can read."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bsod.lib.terms import Bucket, ObjectKind, Permission
from proxy import docs, openapi
from proxy.errors import ERRORS, Code
from proxy.matching import MODEL, match
from proxy.route import BodyKind, ReplyKind, Route
from proxy.routes import ROUTES

pytestmark = pytest.mark.once
DOCUMENT = openapi.document(ROUTES, "https://api.example.org")
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
# What OpenAPI 3.1 knows of each object; `x-` is ours.
OPERATION = {"operationId", "summary", "description", "tags", "parameters", "requestBody",
             "responses", "security"}  # fmt: skip
PARAMETER = {"name", "in", "description", "required", "schema"}


def operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][docs.shown_path(route)][route.method.lower()]
    return found


def of(method: str, path: str) -> dict[str, Any]:
    return operation(next(r for r in ROUTES if (r.method, r.path) == (method, path)))


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        assert set(item) <= METHODS
        for one in item.values():
            yield path, one


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inside in value.values():
            yield from references(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from references(inside)


# ---- it is the table, all of it and no more


def test_every_route_is_in_it_and_nothing_else() -> None:
    described = {
        (method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item
    }
    assert described == {(route.method, docs.shown_path(route)) for route in ROUTES}


def test_a_route_left_out_of_it_would_be_seen() -> None:
    """Printed from fewer rows, the document has just theirs."""
    fewer = openapi.document(ROUTES[:-1], "/")
    gone = {docs.name(ROUTES[-1])}
    assert _ids(DOCUMENT) - _ids(fewer) == gone


def _ids(document: dict[str, Any]) -> set[str]:
    return {one["operationId"] for item in document["paths"].values() for one in item.values()}


def test_an_operation_says_what_its_row_says() -> None:
    for route in ROUTES:
        _compare(route)


def _compare(route: Route) -> None:
    said = operation(route)
    assert said["summary"] == route.summary
    assert said["tags"] == [route.group]
    assert (said.get("security") == []) is (not route.needs_key)
    assert (said["x-bucket"] == "none") is (not route.spends)
    assert said.get("x-body-limit", 0) == route.body_limit
    assert said.get("x-object", {}) == {
        verb: kind
        for verb, kind in (
            ("creates", route.creates), ("owns", route.owns), ("lists", route.lists)
        )
        if kind
    }  # fmt: skip
    if route.permission:
        assert str(route.permission) in said["x-permission"]
    content = set(said.get("requestBody", {}).get("content", ()))
    assert content == {
        BodyKind.NONE: set(), BodyKind.JSON: {openapi.JSON}, BodyKind.FORM: {openapi.FORM},
        BodyKind.EITHER: {openapi.JSON, openapi.FORM},
    }[route.body]  # fmt: skip
    answers = set(said["responses"]["200"]["content"])
    assert (openapi.EVENTS in answers) is (route.reply is ReplyKind.STREAM)
    assert (openapi.JSON in answers) is (route.reply is not ReplyKind.BYTES)


# ---- it is well formed


def test_it_is_an_openapi_document() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["title"]
    assert DOCUMENT["servers"] == [{"url": "https://api.example.org"}]
    assert json.loads(openapi.body())["paths"] == DOCUMENT["paths"]


def test_every_operation_has_an_id_of_its_own_and_only_fields_there_are() -> None:
    ids = [one["operationId"] for _path, one in operations()]
    assert len(ids) == len(set(ids)) == len(ROUTES)
    for _path, one in operations():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", one["operationId"])
        assert {field for field in one if not field.startswith("x-")} <= OPERATION
        assert all(re.fullmatch(r"[1-5]\d\d", status) for status in one["responses"])


def test_every_variable_of_a_path_is_a_parameter_and_no_other_is() -> None:
    for path, one in operations():
        parameters = one["parameters"]
        assert all(set(parameter) <= PARAMETER for parameter in parameters)
        inside = {p["name"] for p in parameters if p["in"] == "path"}
        assert inside == set(re.findall(r"{(\w+)}", path))
        assert all(p["required"] for p in parameters if p["in"] == "path")
        assert len({(p["name"], p["in"]) for p in parameters}) == len(parameters)


def test_what_costs_and_nothing_else_takes_an_idempotency_key() -> None:
    for route in ROUTES:
        headers = {p["name"] for p in operation(route)["parameters"] if p["in"] == "header"}
        assert headers == ({"Idempotency-Key"} if route.spends else set())


def test_every_reference_leads_somewhere_and_everything_shared_is_used() -> None:
    used = set(references(DOCUMENT))
    for place in used:
        here: Any = DOCUMENT
        for step in place.removeprefix("#/").split("/"):
            here = here[step]
    shared = DOCUMENT["components"]
    named = {
        f"#/components/{part}/{name}" for part in ("schemas", "responses") for name in shared[part]
    }
    assert named == used
    assert all(re.fullmatch(r"[\w.-]+", name) for name in shared["responses"])


def test_every_tag_is_declared_and_each_required_field_described() -> None:
    declared = {tag["name"] for tag in DOCUMENT["tags"]}
    for _path, one in operations():
        assert set(one["tags"]) <= declared
        for content in one.get("requestBody", {}).get("content", {}).values():
            schema = content["schema"]
            assert set(schema.get("required", ())) <= set(schema["properties"])
            assert schema["additionalProperties"] is True


# ---- what it says is so


def test_the_grammar_of_an_id_is_the_one_that_is_matched() -> None:
    for path, one in operations():
        for parameter in one["parameters"]:
            if parameter["in"] != "path":
                continue
            pattern = re.compile(parameter["schema"]["pattern"])
            for text in ("file-abc_123", "a/b", "..", "a b", "", "x" * 300):
                asked = re.sub("{" + parameter["name"] + "}", text, path)
                asked = re.sub(r"{\w+}", "id", asked).encode()
                found = match("BREW", asked)
                known = found.params.get(parameter["name"]) == text
                # A model's id may be the rest of the path, and nothing with `..` in it.
                loose = MODEL.pattern in parameter["schema"]["pattern"] and text == "a/b"
                assert loose or bool(pattern.search(text)) is known, (path, text)


def test_every_code_that_can_be_an_answer_is_an_answer_of_some_route() -> None:
    shown = {code for r in DOCUMENT["components"]["responses"].values() for code in r["x-codes"]}
    assert shown == set(map(str, ERRORS)) - {Code.METHOD_NOT_ALLOWED, *docs.ON_PAGES}


def test_the_errors_of_a_route_stand_under_their_status() -> None:
    for route in ROUTES:
        codes = []
        for status, answer in operation(route)["responses"].items():
            if "$ref" in answer:
                shared = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
                assert {ERRORS[Code(code)].status for code in shared["x-codes"]} == {int(status)}
                codes += shared["x-codes"]
        assert sorted(codes) == sorted(docs.refusals(route))


def test_only_what_costs_can_fail_for_want_of_quota() -> None:
    for route in ROUTES:
        assert (Code.QUOTA_EXCEEDED in docs.refusals(route)) is route.spends
        assert (Code.UPSTREAM_ERROR in docs.refusals(route)) is (route.service is not None)
        assert (Code.INVALID_API_KEY in docs.refusals(route)) is route.needs_key


def test_a_chat_completion_as_a_reader_finds_it() -> None:
    said = of("POST", "/v1/chat/completions")
    schema = said["requestBody"]["content"][openapi.JSON]["schema"]
    assert schema["required"] == ["model", "messages"]
    assert {"model", "messages", "stream", "max_tokens", "max_completion_tokens", "n",
            "service_tier", "priority"} <= set(schema["properties"])  # fmt: skip
    assert said["x-bucket"] == "text.base or text.pro, by the model's tier"
    assert said["x-permission"] == [Permission.PRO_MODELS]
    assert said["x-object"] == {"creates": ObjectKind.COMPLETION}
    assert {"openai", "compatible", "local"} <= set(said["x-served-by"])
    assert {"400", "401", "402", "403", "404", "413", "415", "429", "502", "503", "504"} <= set(
        said["responses"]
    )


def test_lists_page_and_the_older_spelling_is_there() -> None:
    names = {p["name"] for p in of("GET", "/v1/files")["parameters"]}
    assert names == {"limit", "after", "before", "order", "id", "content"}
    (alias,) = of("DELETE", "/v1/files")["parameters"]
    assert (alias["name"], alias["required"]) == ("id", True)
    assert "stream" in {p["name"] for p in of("GET", "/v1/responses/{response_id}")["parameters"]}


def test_what_draws_on_what() -> None:
    drawn = {
        ("POST", "/v1/images/generations"): "image",
        ("POST", "/v1/audio/speech"): "audio",
        ("POST", "/v1/videos"): "video.sora2pro, video.sora2 or video.other, by the model",
        ("POST", "/v1/files"): "file",
        ("POST", "/v1/fine_tuning/jobs"): "text.pro",
        ("GET", "/v1/files"): "none",
    }
    assert {key: of(*key)["x-bucket"] for key in drawn} == drawn


@pytest.mark.parametrize("bucket", Bucket)
def test_a_row_that_names_its_bucket_draws_on_that(bucket: Bucket) -> None:
    row = next(route for route in ROUTES if route.path == "/v1/images/generations")
    assert docs.draws_on(replace(row, bucket=bucket)) == bucket


@pytest.mark.parametrize("path", ["/v1/images", "/v1/audio", "/v1/realtime", "/v1/fine_tuning"])
def test_a_namespace_lists_what_is_below_it(path: str) -> None:
    shown = openapi.namespace(path)
    assert (shown["object"], shown["path"]) == ("namespace", path)
    listed = {(one["method"], one["path"]) for one in shown["endpoints"]}
    assert listed == {(r.method, r.path) for r in ROUTES if r.path.startswith(path + "/")}
    assert listed
    assert all(one["summary"] for one in shown["endpoints"])
