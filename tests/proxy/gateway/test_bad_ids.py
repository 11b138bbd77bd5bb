"""Ids that are none: no spelling of one leaves its place in a path, and no provider hears of it.

The fault server is the judge: it has not got a single byte.
"""

from collections.abc import Iterator

import pytest

from proxy.route import NAMES, VARIABLE, Route
from proxy.routes import ROUTES
from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.world import CARRIED, Honest, alone, held, operator, request
from tests.rawclient import Raw, Reply, once
from tests.upstream import FaultServer

pytestmark = pytest.mark.once  # what is refused here never asks the database for an object

BAD = [
    "..", "%2e%2e", "%2E.", ".%2e", "..%2f", "..%2fmodels", "..%2F..%2fmodels", "%252e%252e",
    "%252e%252e%252fmodels", "%00", "a%00", "?", "a?b", "%3f", "%23", "a%23b", ";", "a;b", "%3b",
    "\\", "..\\", "%5c", "%5c..", "", ".", "%2e", "a%2fb", "a%20b", "a+b", "a b", "%0d%0aX:1",
    "é", "%c3%a9", "%", "%zz", "a" * 129, "a" * 5000, "%61" * 1700, "a.b", "*", "{id}", "a,b", "@",
]  # fmt: skip
# Of these a model's id may hold what other ids may not: such a model is just not there.
FEW = ["..", "%2e%2e", "..%2fmodels", "%252e", "%00", ";", "%23", "%3f", "\\", ".", "a" * 5000, ""]
TEMPLATES = [route for route in ROUTES if route.variables]


@pytest.fixture
def caller(site: Site, up: FaultServer) -> Iterator[Person]:
    with alone():
        supplied = kit.supply(up, catch_all=True)
        up.default = Honest(supplied)
        # Not even an operator, whose unknown ids do go to a provider, gets one of these there.
        yield operator()
    assert up.seen == []
    assert up.connections == 0


def answers(site: Site, who: Person, targets: list[tuple[str, str]]) -> Iterator[tuple[str, Reply]]:
    """All on one connection, for as long as it lasts."""
    raw = Raw(site)
    for method, target in targets:
        raw.ask(method, target.encode(), [*who.auth.items()], b"" if method == "POST" else None)
        reply = raw.reply()
        yield f"{method} {target[:200]}", reply
        if reply.header("connection") == "close" or raw_closed(reply):
            raw.leave()
            raw = Raw(site)
    raw.leave()


def raw_closed(reply: Reply) -> bool:
    """A head that is none ends its connection."""
    return reply.status == 400


def check(name: str, reply: Reply) -> None:
    assert 400 <= reply.status < 500, f"{name} {reply}"
    assert reply.status not in (401, 403), f"{name} {reply}"
    assert reply.header("location") is None, name
    if reply.status == 404:
        assert reply.error["code"] == "not_found", f"{name} {reply}"


def spelt(route: Route, name: str, bad: str) -> str:
    return VARIABLE.sub(lambda found: bad if found[1] == name else "x1", route.path)


def test_no_bad_id_reaches_a_provider_at_any_place_of_any_template(
    site: Site, caller: Person
) -> None:
    targets = [
        (route.method, spelt(route, name, bad))
        for route in TEMPLATES
        for name in route.variables
        for bad in FEW
        if not _another(route, spelt(route, name, bad))
    ]
    assert len(targets) > 700
    for name, reply in answers(site, caller, targets):
        check(name, reply)


def _another(route: Route, path: str) -> bool:
    """Whether the spelling is another route's own path: its end is empty or a dot is left out."""
    return path.endswith("/") or (NAMES.get(route.variables[0]) == "model" and "//" not in path)


def test_every_bad_spelling_is_refused_where_a_file_and_a_response_are_named(
    site: Site, caller: Person
) -> None:
    paths = ("/v1/files/{}", "/v1/files/{}/content", "/v1/responses/{}/input_items",
             "/v1/index.php/files/{}/content")  # fmt: skip
    targets = [
        (method, path.format(bad))
        for path in paths
        for method in ("GET", "DELETE")
        for bad in BAD
        if not (bad == "" and path == "/v1/files/{}") and "?" not in bad
    ]
    for name, reply in answers(site, caller, targets):
        check(name, reply)


def test_a_bad_id_in_the_query_is_as_bad_as_one_in_the_path(site: Site, caller: Person) -> None:
    bads = [bad for bad in BAD if "#" not in bad and " " not in bad and bad]
    targets = [
        (method, f"{path}?id={bad}{more}")
        for method, path in (("GET", "/v1/files"), ("DELETE", "/v1/files"), ("GET", "/v1/videos"))
        for more in ("", "&content=1")
        for bad in bads
        if "&" not in bad
    ]
    for name, reply in answers(site, caller, targets):
        check(name, reply)


def test_a_bad_id_in_a_body_is_nobodys(site: Site, up: FaultServer, caller: Person) -> None:
    user = kit.person("user", unlimited=True)
    for bad in (
        "..",
        "%2e%2e",
        "a/../b",
        "\0",
        "#",
        "?",
        ";",
        "\\",
        ".",
        "é",
        "a" * 5000,
        "\ud83d\ude00",
    ):
        reply = site.post(user, {"model": "m", "file_ids": [bad]}, "/v1/assistants")
        assert reply.status_code == 404, f"{bad[:20]} {reply.text}"
        assert reply.json()["error"]["code"] == "not_found"


def test_a_model_that_is_to_be_deleted_has_a_model_s_name(site: Site, caller: Person) -> None:
    bads = ["..", "a/../b", "%2e%2e", "a%2f..%2fb", "..%2ffiles", "%00", "a%23b", "a%3fb", "a;b",
            "a%5cb", "%252e%252e", ".", "a" * 5000, "-a"]  # fmt: skip
    for name, reply in answers(site, caller, [("DELETE", f"/v1/models/{bad}") for bad in bads]):
        check(name, reply)


def test_a_well_formed_id_is_sent_as_the_template_says_and_not_otherwise(
    site: Site, up: FaultServer
) -> None:
    """The other half of the law: what the wire has is constants and ids of the grammar."""
    with alone():
        supplied = kit.supply(up, catch_all=True)
        up.default = Honest(supplied)
        who = kit.person("caller", unlimited=True)
        routes = [route for route in CARRIED if route.owns and route.method == "GET"]
        for route in routes:
            ids = {name: f"{kit.unique('A-_9')}{'_' * 140}"[:128] for name in route.variables}
            held(who, supplied.key_row(), NAMES[route.variables[0]], ids[route.variables[0]])
            asked = request(route, ids)
            assert asked.send(site, who).status == 200, asked.path
            assert up.seen[-1].target == asked.path.encode()


def test_a_question_mark_ends_the_path_and_what_is_before_it_is_ones_own(
    site: Site, up: FaultServer, caller: Person
) -> None:
    user = kit.person("user", unlimited=True)
    for target in ("/v1/files/?", "/v1/files/?/content", "/v1/files/?x1", "/v1/files/#x1"):
        reply = once(site, "GET", target, [*user.auth.items()])
        assert reply.status in (200, 400, 404), f"{target} {reply}"
        assert reply.status != 200 or b'"data":[]' in reply.body, f"{target} {reply}"
        assert once(site, "DELETE", target, [*user.auth.items()]).status in (400, 404)


# ---- what is not in the table


NOWHERE = [
    ("GET", "/v1/organization/projects"), ("GET", "/v1/organization/usage/completions"),
    ("POST", "/v1/organization/admin_api_keys"), ("GET", "/v1/admin"),
    ("GET", "/v1/files/x1/secret"),
    ("GET", "/v1/assistants/x1/files"), ("POST", "/v1/threads/x1/runs/x2/steps"),
    ("GET", "/v1/engines"), ("GET", "/v1/dashboard/billing/usage"), ("POST", "/v1/evals"),
    ("GET", "/v1/vector_stores/x1/x2"), ("POST", "/v1/fine_tuning/jobs/x1/delete"),
    ("GET", "/v1/prompts"), ("POST", "/v1/containers"), ("GET", "/v1/conversations/x1"),
    ("POST", "/v1/files/x1/content/x2"), ("GET", "/v1/v1/files"), ("GET", "/v1//files"),
    ("GET", "/v1/files//"), ("GET", "/v1/index.php/organization"),
    ("POST", "/v1/responses/x1/x2/x3"),
]  # fmt: skip


def test_what_is_no_row_is_not_passed_on(site: Site, caller: Person) -> None:
    for name, reply in answers(site, caller, NOWHERE):
        assert reply.status in (404, 405), f"{name} {reply}"
        assert reply.error["code"] in ("not_found", "method_not_allowed"), f"{name} {reply}"


def test_a_method_that_no_row_has_is_refused_with_those_there_are(
    site: Site, caller: Person
) -> None:
    paths = sorted({route.path for route in CARRIED})
    for method in ("PATCH", "PUT", "DELETE", "GET", "POST"):
        missing = [
            path for path in paths if (method, path) not in {(r.method, r.path) for r in ROUTES}
        ]
        targets = [(method, VARIABLE.sub("x1", path)) for path in missing]
        # `/v1/threads/runs` and the like are words where an id may stand too.
        for name, reply in answers(site, caller, targets):
            assert (reply.status, reply.error["code"]) == (405, "method_not_allowed"), (
                f"{name} {reply}"
            )
            allowed = (reply.header("allow") or "").split(", ")
            assert allowed == reply.error["allow"]
            assert method not in allowed
            assert "OPTIONS" in allowed


def test_realtime_is_refused_whoever_asks_and_however(
    site: Site, caller: Person, bob: Person
) -> None:
    for path in (
        "/v1/realtime/sessions",
        "/v1/realtime/sessions/",
        "/v1/index.php/realtime/sessions",
    ):
        for who in (caller, bob):
            for body in (b"{}", b'{"model":"gpt-realtime"}', b"", b"not json"):
                kind = ("Content-Type", "application/json")
                reply = once(site, "POST", path, [*who.auth.items(), kind], body)
                assert (reply.status, reply.error["code"]) == (403, "permission_denied")
    assert once(site, "POST", "/v1/realtime/sessions", [], b"{}").status == 401
