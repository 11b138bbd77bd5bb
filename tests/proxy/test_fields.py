"""The table of a body's fields says what the gateway's readers do, and no more than that."""

from typing import Any

import pytest

from bsod.lib.terms import Shape
from proxy import docs, fields
from proxy.errors import ApiError
from proxy.fields import FIELDS
from proxy.gateway import aim, reading
from proxy.gateway.batchfile import BatchLines
from proxy.providers import tokens
from proxy.references import references
from proxy.route import ReplyKind, Route
from proxy.routes import ROUTES

pytestmark = pytest.mark.once
WITH_BODY = [route for route in ROUTES if route.body_limit]
SAMPLES: dict[str, Any] = {
    "string": "a", "array": [{"role": "user", "content": "a"}], "object": {}, "boolean": True,
    "integer": 1,
}  # fmt: skip
NEEDED = {"model": "m", "messages": SAMPLES["array"]}


class Watched(dict[str, Any]):
    """A body that keeps which of its fields somebody has looked at."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return super().__getitem__(name)


def looked_at(route: Route) -> set[str]:
    body = Watched(NEEDED)
    reading.read(route, body)
    if route.shape is Shape.FINE_TUNING:
        aim.epochs(body)
    return body.seen


@pytest.mark.parametrize("route", WITH_BODY, ids=docs.name)
def test_what_is_read_is_told_and_what_is_told_is_read(route: Route) -> None:
    told, seen = {field.name for field in fields.of(route)}, looked_at(route)
    # Every body is asked for these two; they say nothing where there is no model, and no stream.
    unsaid = {"model"} if route.modality is None else set()
    unsaid |= {"stream"} if route.reply is not ReplyKind.STREAM else set()
    assert seen - told <= unsaid
    prompt = set(tokens._PROMPT.get(route.shape, ()))
    for name in told - seen - prompt:
        # An object's id; where it is looked at beside the readers, a test below says how.
        assert references({name: "x"}) or (route.shape, name) == (Shape.BATCH, "endpoint"), name


EVERY = [(route, field) for route in WITH_BODY for field in fields.of(route)]


def read(route: Route, **body: Any) -> str | None:
    """The field a reader refuses."""
    try:
        reading.read(route, {**NEEDED, **body})
    except ApiError as error:
        return error.param
    return None


def test_bounds_are_those_the_readers_keep() -> None:
    for route, field in EVERY:
        if field.most:
            assert read(route, **{field.name: field.most}) is None, (route.path, field.name)
            assert read(route, **{field.name: field.most + 1}) == field.name, route.path
        for kind in field.kinds:
            assert read(route, **{field.name: SAMPLES[kind]}) is None or kind == "string"


def test_what_is_counted_is_refused_in_any_other_type() -> None:
    for route, field in EVERY:
        # Of a body that is nobody's call only `true` says something.
        counted = route.shape in FIELDS and {"integer", "boolean"} & set(field.kinds)
        if counted:
            for kind, value in SAMPLES.items():
                refused = read(route, **{field.name: value}) == field.name
                assert refused is not (kind in field.kinds and value != "a"), (field.name, kind)


def test_what_is_needed_is_asked_for() -> None:
    for route, field in EVERY:
        body = {name: value for name, value in NEEDED.items() if name != field.name}
        if field.required and route.shape is not Shape.BATCH:
            with pytest.raises(ApiError) as refused:
                reading.read(route, body)
            assert refused.value.param == field.name
        elif route.shape is not Shape.BATCH:
            reading.read(route, body)
    with pytest.raises(ApiError) as refused:
        BatchLines(None)
    assert refused.value.param == "endpoint"


def test_what_is_said_of_a_default_is_what_is_read() -> None:
    read_as = {"stream": "stream", "n": "choices", "store": "stored", "seconds": "seconds"}
    for route, field in EVERY:
        image = route.shape is Shape.IMAGE and field.name == "n"
        meant = "units" if image else read_as.get(field.name)
        if meant and field.default is not None:
            assert reading.read(route, dict(NEEDED)).get(meant) == field.default, route.path
        if route.shape is Shape.RUN and field.name == "max_completion_tokens":
            assert reading.read(route, dict(NEEDED))["limit"] == field.default
