"""Ids in bodies: however a stranger's object is named, in any row, no provider hears of it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bsod.lib.terms import ObjectKind
from proxy.route import NAMES, BodyKind
from tests.kit import Site
from tests.proxy.gateway.shop import FILE, Shop, refused
from tests.proxy.gateway.world import CARRIED, alone, held, multipart, needs, request
from tests.upstream import FaultServer
from tests.upstream import Reply as Answer

# Every way of naming an object in a body that is not simply a field `*_id`.
FORMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "previous_response_id": lambda id_: {"previous_response_id": id_},
    "ids": lambda id_: {"file_ids": ["", id_]},
    "conversation": lambda id_: {"conversation": id_},
    "conversation.id": lambda id_: {"conversation": {"id": id_}},
    "container": lambda id_: {"tools": [{"type": "code_interpreter", "container": id_}]},
    "container.file_ids": lambda id_: {"tools": [{"container": {"file_ids": [id_]}}]},
    "prompt.id": lambda id_: {"prompt": {"id": id_}},
    "training_file": lambda id_: {"training_file": id_},
    "validation_file": lambda id_: {"validation_file": id_},
    "item_reference": lambda id_: {"input": [{"type": "item_reference", "id": id_}]},
    "item without type": lambda id_: {"input": [{"id": id_}]},
    "image_file": lambda id_: {"messages": [{"content": [{"image_file": {"file_id": id_}}]}]},
    "file": lambda id_: {"input": [{"content": [{"type": "input_file", "file_id": id_}]}]},
    "attachments": lambda id_: {"messages": [{"attachments": [{"file_id": id_}]}]},
    "tool_resources": lambda id_: {"tool_resources": {"file_search": {"vector_store_ids": [id_]}}},
    "thread": lambda id_: {"thread": {"messages": [{"attachments": [{"file_id": id_}]}]}},
    "deep": lambda id_: {"a": [[{"b": {"c_id": id_}}]]},
    "voice": lambda id_: {"voice": {"id": id_}},
    "video": lambda id_: {"video": {"id": id_}},
    "characters": lambda id_: {"characters": [{"id": id_}]},
    "unknown field": lambda id_: {"brand_new_thing_id": id_},
    "fine-tuned grader": lambda id_: {"grader": {"model": f"ft:{id_}"}},
}  # fmt: skip
FIELDS = ("file_id", "file_ids[]", "character_ids[]", "input_reference[file_id]", "video[id]",
          "consent", "characters[0][id]")  # fmt: skip


@pytest.fixture
def shop(site: Site, up: FaultServer) -> Iterator[Shop]:
    with alone():
        yield Shop(site, up)


@pytest.mark.once
def test_no_body_names_a_strangers_object_in_any_row(shop: Shop) -> None:
    """Every row that takes JSON, with one form after the other."""
    rows = [r for r in CARRIED if r.body in (BodyKind.JSON, BodyKind.EITHER)]
    forms = list(FORMS.values())
    for number, route in enumerate(rows):
        ids = {n: held(shop.bob, shop.second, NAMES.get(n, FILE)) for n in route.variables}
        for form in (forms[number % len(forms)], FORMS["ids"]):
            fields = needs(route, shop.bob, shop.second) | form(shop.hers())
            refused(request(route, ids, "unlisted", **fields).send(shop.site, shop.bob), route)
    shop.nothing_said()


@pytest.mark.once
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/assistants", "/v1/threads/runs"])
def test_no_form_of_a_reference_gets_a_strangers_object(shop: Shop, path: str) -> None:
    file = shop.hers()
    tuned = held(shop.alice, shop.second, ObjectKind.MODEL, f"ft:{file}")
    for name, form in FORMS.items():
        body = {"model": "unlisted", "input": "Hi", **form(file)}
        reply = shop.call(shop.bob, "POST", path, body)

        refused(reply, name)
        assert reply.error["param"], name
        assert file in reply.error["message"] or tuned in reply.error["message"], name
    shop.nothing_said()


@pytest.mark.once
def test_a_label_is_no_reference(shop: Shop) -> None:
    file = shop.hers()
    body = {"model": "unlisted", "input": [{"type": "function_call_output", "call_id": file,
            "output": "1"}], "metadata": {"file_id": file}}  # fmt: skip

    assert shop.call(shop.bob, "POST", "/v1/responses", body).status == 200
    assert shop.up.count() == 1


@pytest.mark.once
def test_no_form_field_names_a_strangers_object(shop: Shop) -> None:
    file = shop.hers()
    rows = [route for route in CARRIED if route.body in (BodyKind.FORM, BodyKind.EITHER)]
    for route in rows:
        ids = {n: held(shop.bob, shop.second, NAMES.get(n, FILE)) for n in route.variables}
        for name in FIELDS:
            asked = request(route, ids, "unlisted", form=True)
            asked.body = multipart([("model", "unlisted"), (name, file)])
            refused(asked.send(shop.site, shop.bob), (route, name))
    shop.nothing_said()


def test_no_line_of_a_batch_names_a_strangers_object(shop: Shop) -> None:
    mine, hers = held(shop.bob, shop.second, FILE), shop.hers()
    body = {"model": shop.supplied.model, "input": [{"content": [{"file_id": hers}]}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": body}
    shop.up.on(Answer(body=json.dumps(line).encode()), path_suffix="/content")

    asked = {"input_file_id": mine, "endpoint": "/v1/responses", "completion_window": "24h"}
    reply = shop.call(shop.bob, "POST", "/v1/batches", asked)

    refused(reply, line)
    assert [seen.path for seen in shop.up.seen] == [f"/v1/files/{mine}/content"]
    assert shop.bob.entries() == []
