"""`make conformance` tells what is equal from what is not: its judgement, without its downloads."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import install
from tests.conformance.compare import column, differences, reached, table
from tests.conformance.groups import GROUPS, OTHERS, USER_GROUPS, Unplaced, group_of, placed
from tests.conformance.relay import Call, Relay
from tests.conformance.suite import Result, read

pytestmark = pytest.mark.once

CHAT = "tests/api_resources/chat/test_completions.py::TestCompletions::"
CREATE, RETRIEVE = f"{CHAT}test_method_create[loose]", f"{CHAT}test_raw_response_retrieve[strict]"
EMPTY_ID = f"{CHAT}test_path_params_retrieve[loose]"
PASSED, SKIPPED = Result("passed"), Result("skipped")
NOT_FOUND = Result("failed", "NotFoundError", "Error code: 404", 404)
REFUSED = Result("failed", "BadRequestError", "Error code: 400", 400)


def names(*args: object, **kwargs: object) -> list[str]:
    return [each.test for each in differences(*args, **kwargs)]  # type: ignore[arg-type]  # passed on


def test_a_test_that_ends_otherwise_differs_whichever_way() -> None:
    assert names({CREATE: PASSED}, {CREATE: REFUSED}) == [CREATE]
    assert names({CREATE: REFUSED}, {CREATE: PASSED}) == [CREATE]
    assert names({CREATE: PASSED}, {CREATE: SKIPPED}) == [CREATE]
    assert names({CREATE: PASSED}, {}) == [CREATE]
    assert names({}, {CREATE: PASSED}) == [CREATE]
    assert names({CREATE: REFUSED, EMPTY_ID: SKIPPED}, {CREATE: NOT_FOUND, EMPTY_ID: SKIPPED}) == []


def test_a_user_must_be_refused_what_he_never_made_and_an_operator_must_not() -> None:
    straight = {CREATE: PASSED, RETRIEVE: PASSED, EMPTY_ID: PASSED}
    refused = {**straight, RETRIEVE: NOT_FOUND}
    assert names(straight, refused, user=True) == []
    assert names(straight, refused) == [RETRIEVE]
    assert names(straight, straight, user=True) == [RETRIEVE]
    assert names(straight, {**straight, RETRIEVE: REFUSED}, user=True) == [RETRIEVE]
    assert names(straight, {**refused, CREATE: NOT_FOUND}, user=True) == [CREATE]
    assert str(column("chat", straight, refused, user=True)) == "2/0 +1 refused"
    assert str(column("chat", straight, refused)) == "2/1  1 DIFFER"


def test_a_refused_call_that_the_provider_saw_is_found() -> None:
    post, get = Call("POST", "/v1/responses", 200), Call("GET", "/v1/responses/r?x=1", 404)
    calls = [post, Call("POST", "/v1/responses", 404), get]
    upstream = [Call("POST", "/responses", 200), Call("GET", "/responses/mine", 200)]
    assert reached(calls, upstream) == []
    assert reached(calls, [*upstream, Call("POST", "/responses", 200)]) != []
    assert reached(calls, [*upstream, Call("GET", "/responses/r", 200)]) != []


def test_a_file_that_nobody_has_placed_stops_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "tests/api_resources"
    spots = [spot for spots in GROUPS.values() for spot in spots]
    for spot in (*spots, *OTHERS):
        path = folder / (spot if spot.endswith(".py") else f"{spot}/test_it.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    files, others = placed(tmp_path)
    assert sum(map(len, files.values())) == len(spots)
    assert others == len(OTHERS)
    assert files["uploads"] == [
        "tests/api_resources/test_uploads.py", "tests/api_resources/uploads/test_it.py",
    ]  # fmt: skip
    (folder / "test_newest.py").touch()
    with pytest.raises(Unplaced, match=r"test_newest\.py"):
        placed(tmp_path)


def test_the_groups_are_the_sixteen_of_the_surface() -> None:
    assert len(GROUPS) == 16
    assert set(USER_GROUPS) < set(GROUPS)
    assert group_of("tests/api_resources/beta/threads/runs/test_steps.py::T::t[loose]") == "threads"
    assert group_of("tests/api_resources/beta/test_agents.py::T::t") is None


def test_the_archive_is_of_the_client_that_the_suite_has_and_all_is_pinned_by_hash() -> None:
    pins = (install.ROOT / "requirements" / "test.txt").read_text()
    assert f"openai=={install.version()} " in pins
    for name in ("source.txt", "requirements.txt"):
        text = (install.HERE / name).read_text()
        for pin in re.findall(r"^\w[^\n]*==[^\n]*\n[^\n]*", text, re.M):
            assert "--hash=sha256:" in pin, pin
    lock = json.loads((install.HERE / "node" / "package-lock.json").read_text())["packages"]
    assert lock["node_modules/@stdy/cli"]["version"] == "0.22.1"
    assert lock["node_modules/@stdy/cli-linux-x64"]["integrity"].startswith("sha512-")
    assert not any("resolved" in package for package in lock.values())


@pytest.mark.parametrize("given", [None, "", "/nowhere/openapi.yaml"])
def test_without_a_specification_it_says_where_openai_publishes_it(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_SPEC", raising=False)
    if given is not None:
        monkeypatch.setenv("OPENAI_SPEC", given)
    with pytest.raises(install.CannotRun, match="openai-openapi") as refusal:
        install.specification()
    assert "OPENAI_SPEC=" in str(refusal.value)


def test_results_are_read_while_they_are_written(tmp_path: Path) -> None:
    lines = [json.dumps({"test": name, **vars(NOT_FOUND)}) for name in (CREATE, RETRIEVE)]
    written = tmp_path / "results"
    assert read(written) == {}
    written.write_text(f"{lines[0]}\n{lines[1][:20]}")
    assert read(written) == {CREATE: NOT_FOUND}
    written.write_text("".join(f"{line}\n" for line in lines))
    assert read(written) == {CREATE: NOT_FOUND, RETRIEVE: NOT_FOUND}


def test_a_table_keeps_its_columns() -> None:
    assert table([["a", "b"], ["long", "x"]]).splitlines() == ["a     b", "-------", "long  x"]


ANSWERS = (
    b"HTTP/1.1 103 Early Hints\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nX-Request-Id: one\r\ncontent-length: 2\r\n\r\nhi",
    b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\nx-request-id: two\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n",
)
ASKED = (
    b"GET /v1/models?x=1 HTTP/1.1\r\nhost: h\r\n\r\n",
    b"POST /v1/files HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc",
    b"GET /v1/never HTTP/1.1\r\nhost: h\r\n\r\n",
)


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    """Answers the first two requests byte by byte, and hangs up on the third."""
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for place, asked in enumerate(ASKED):
                said = b""
                while len(said) < len(asked) and (data := connection.recv(1000)):
                    said += data
                heard.append(said)
                for byte in ANSWERS[place] if place < len(ANSWERS) else b"":
                    connection.sendall(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], heard
        thread.join(10)


def test_the_relay_changes_no_byte_and_writes_down_every_call(
    server: tuple[int, list[bytes]],
) -> None:
    port, heard = server
    answered = []
    with Relay(port) as relay, socket.create_connection(("127.0.0.1", relay.port)) as client:
        client.settimeout(10)
        for asked, answer in zip(ASKED, (*ANSWERS, b""), strict=True):
            client.sendall(asked)
            got = b""
            while len(got) < max(len(answer), 1) and (data := client.recv(1000)):
                got += data
            answered.append(got)
    assert answered == [*ANSWERS, b""]
    assert heard == list(ASKED)
    assert relay.calls == [
        Call("GET", "/v1/models?x=1", 200, "one"),
        Call("POST", "/v1/files", 404, "two"),
        Call("GET", "/v1/never"),
    ]
    assert relay.unread == []
