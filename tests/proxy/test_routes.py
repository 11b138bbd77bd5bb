"""The route table: every form of a path that means a route, and every form that must not."""

import pytest

from bsod.lib import ids
from proxy.errors import ERRORS, ApiError, Code
from proxy.gateway.local import ANSWERS
from proxy.matching import NAMESPACES, OWN, Match, match, ours
from proxy.route import VARIABLE, Plane
from proxy.routes import ROUTES

pytestmark = pytest.mark.once

ALL = [(route.method, route.path) for route in ROUTES]


def spelt(path: str) -> str:
    """A path with an id in each of its places."""
    return VARIABLE.sub(lambda found: ids.ulid() if found[1] in OWN else "x1", path)


@pytest.mark.parametrize(("method", "path"), ALL)
def test_a_route_is_found_with_and_without_its_slash_and_under_its_old_name(
    method: str, path: str
) -> None:
    path = spelt(path)
    spellings = [path, path + "/"]
    if path.startswith("/v1"):
        spellings += [f"/v1/index.php{path[3:]}", f"/v1/index.php{path[3:]}/"]

    found = [match(method, spelling.encode()) for spelling in spellings]

    assert all(item.route and item.route.method == method for item in found)
    assert len({item.route.path for item in found if item.route}) == 1


@pytest.mark.parametrize("path", sorted({path for _, path in ALL}))
def test_allow_is_sorted_and_holds_every_method_of_the_path_and_options(path: str) -> None:
    here = [route for route in ROUTES if route.path == path]
    methods = {route.method for route in here}
    if any(route.method == "GET" and not route.service for route in here):
        methods.add("HEAD")

    found = match("BREW", spelt(path).encode())

    assert found.route is None
    assert list(found.allow) == sorted({*methods, "OPTIONS"})


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/../models", "/v1/../v1/models", "/v1/./models", "/v1//models", "//v1/models",
        "/v1/models//", "/v1/models/../models", "/v1/models/%2e%2e", "/v1/models/..%2fmodels",
        "/v1/models/%2e%2e%2fmodels", "/v1/models/a/%2e%2e/b", "/v1/models/a/../b",
        "/v1/models/%252e%252e", "/v1/models/x%00", "/v1/models/%00", "/v1/models/x;y",
        "/v1/models/x#y", "/v1/models/x%23y", "/v1/models/x%3fy", "/v1/models/x\\y",
        "/v1/models/x%5cy", "/v1/models/x%0d%0ay", "/v1/models/x%20", "/v1/models/.",
        "/v1/models/" + "m" * 5000, "/v1/models/" + "%6d" * 5000, "/v1/models/m%C3%A9",
        "/v1/models/-x", "/v1/models/", "/v1/%6dodels/", "/v1/models%2fx",
        "/v1/index.php/../models", "/v1/index.php.bak", "/v1/index.phpx/models",
        "/v1/index.php/index.php/models",
        "/v1/organization/projects", "/v1/admin", "/v1/chat", "/v1/chat/completions/x/y",
        "/v1/chat%2fcompletions", "/v1/realtime/../models", "/v1beta/models", "/V1/MODELS",
    ],
)  # fmt: skip
def test_no_form_of_a_path_reaches_a_route_it_does_not_spell(path: str) -> None:
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        found = match(method, path.encode())
        if path == "/v1/models/":
            assert (
                not found.route or found.route.path == "/v1/models"
            )  # the list itself, with its slash
        else:
            assert found == Match(None), path


@pytest.mark.parametrize(
    ("raw", "model"),
    [
        ("gpt-5.4", "gpt-5.4"),
        ("models/gemini-2.5", "models/gemini-2.5"),
        ("models%2Fgemini-2.5", "models/gemini-2.5"),
        ("ft:gpt-5:org::id", "ft:gpt-5:org::id"),
        ("gpt%2D5", "gpt-5"),
        ("a" * 256, "a" * 256),
    ],
)
def test_a_model_id_may_hold_what_models_are_called(raw: str, model: str) -> None:
    found = match("GET", f"/v1/models/{raw}".encode())

    assert found.params == {"model": model}


def test_only_whole_segments_make_a_path_ours() -> None:
    for space in NAMESPACES:
        assert ours(space.encode())
        assert ours(f"{space}/anything".encode())
        assert not ours(f"{space}x".encode())


def test_every_route_of_our_own_has_its_answer_and_every_answer_its_route() -> None:
    free = {r.local for r in ROUTES if r.service is None and r.plane is Plane.GATEWAY}

    assert free == set(ANSWERS)


def test_a_route_that_costs_has_a_bucket_a_cap_and_an_upstream_path() -> None:
    for route in ROUTES:
        if route.spends:
            assert route.needs_key
            assert route.modality or route.bucket
            assert route.body_limit > 0
            assert route.service
            assert not set("?#%") & set(route.upstream)


def test_every_code_has_one_row_and_none_that_is_retried_by_mistake() -> None:
    assert set(ERRORS) == set(Code)
    for code, kind in ERRORS.items():
        assert 400 <= kind.status < 600
        body = ApiError(code, "text").body()
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["code"] == code


def test_an_error_in_a_stream_is_nested_so_that_every_client_raises() -> None:
    event = ApiError(Code.UPSTREAM_TRUNCATED, "line\nbreak").event()

    assert event.startswith(b'data: {"error":{')
    assert event.endswith(b"}}\n\n")
    assert event.count(b"\n") == 2
