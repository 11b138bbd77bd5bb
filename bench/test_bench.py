"""The tools measure what they say: the mock's protocol, the load generator's counts, the bars."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import proc
import report
import table
import tools

STREAM = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
PLAIN = b'{"model":"m","messages":[{"role":"user","content":"say \\"stream\\":true"}]}'


@pytest.fixture(scope="module", params=["native", "fallback"])
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tools.Tools:
    """The tools compiled, then the stand-ins; where there is no compiler both are the latter."""
    return tools.build(tmp_path_factory.mktemp("bin"), request.param == "fallback")


@pytest.fixture
def mock(kit: tools.Tools, tmp_path: Path) -> Iterator[int]:
    """The port of a mock whose streams are 5 chunks of 20 ms."""
    port = proc.free_port()
    command = [*kit.mock, "--port", str(port), "--chunks", "5", "--interval-ms", "20"]
    with proc.Supervisor(tmp_path) as supervisor:
        process = supervisor.start("mock", command, proc.cores()[0], proc.clean_env(tmp_path))
        proc.wait_http(process, port, "/v1/models", 10)
        yield port


def post(body: bytes, *headers: bytes) -> bytes:
    """The bytes of a chat completion request."""
    framing = headers or (b"Content-Length: %d" % len(body),)
    return b"POST /v1/chat/completions HTTP/1.1\r\n" + b"\r\n".join(framing) + b"\r\n\r\n" + body


def talk(port: int, parts: list[bytes], until: bytes, times: int = 1) -> bytes:
    """Send the parts one after another, read until ``until`` came ``times`` times."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            sock.sendall(part)
        got = b""
        while got.count(until) < times:
            data = sock.recv(65536)
            assert data, got
            got += data
    return got


def stats(port: int) -> dict[str, Any]:
    """The mock's counters."""
    got = talk(port, [b"GET /__stats HTTP/1.1\r\n\r\n"], b"}")
    found: dict[str, Any] = json.loads(got.partition(b"\r\n\r\n")[2])
    return found


def test_fragmented_pipelined_and_chunked_requests(mock: int) -> None:
    one = post(PLAIN)
    assert talk(mock, [one[i : i + 1] for i in range(len(one))], b'"usage":{').count(b"200 OK") == 1
    assert talk(mock, [one * 3], b'"usage":{', 3).count(b"200 OK") == 3
    halves = [PLAIN[:10], PLAIN[10:]]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves) + b"0\r\n\r\n"
    got = talk(mock, [post(chunks, b"Transfer-Encoding: chunked"), one], b'"usage":{', 2)
    assert got.count(b"200 OK") == 2
    assert stats(mock)["answered"] == 6


def test_a_stream_has_stamps_usage_and_one_end(mock: int) -> None:
    got = talk(mock, [post(STREAM) + post(PLAIN)], b'"total_tokens":32')
    assert got.count(b'"content":"ns:') == 5
    assert got.count(b'"usage":null') == 6
    assert got.count(b'"total_tokens":17') == 1
    assert got.count(b"data: [DONE]\n\n") == 1
    assert got.index(b"[DONE]") < got.index(b'"message":{')  # pipelined behind it


def test_usage_only_when_asked_and_http10_without_chunks(mock: int) -> None:
    quiet = STREAM.replace(b"true}", b"false}")
    assert b"usage" not in talk(mock, [post(quiet)], b"[DONE]")
    old = post(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert b"chunked" not in talk(mock, [old], b"[DONE]\n\n").lower()


def test_an_aborted_stream_is_counted(mock: int) -> None:
    talk(mock, [post(STREAM)], b"ns:")
    end = time.monotonic() + 5
    while not stats(mock)["streams_aborted"] and time.monotonic() < end:
        time.sleep(0.02)
    assert stats(mock)["streams_aborted"] == 1
    assert stats(mock)["streams_done"] == 0


@pytest.mark.parametrize("words", [("--connections 8 --seconds 0.3"), ("--streams 40 --ramp 100")])
def test_the_load_generator_counts_every_answer(
    kit: tools.Tools, mock: int, tmp_path: Path, words: str
) -> None:
    body = tmp_path / "body.json"
    body.write_bytes(STREAM if "streams" in words else PLAIN)
    command = [*kit.load, "--port", str(mock), "--body", str(body), *words.split()]
    row = json.loads(proc.run_quietly(command, 30))
    assert row["answered"] == stats(mock)["answered"] == sum(row["status"].values()) > 0
    assert row["errors"] == row["unanswered"] == 0
    if "streams" in words:
        assert (row["complete"], row["failed"], row["chunks"]) == (40, 0, 200)
        assert 0 < row["delay_p50_ms"] < 1000
    else:
        assert 0 < row["p50_us"] <= row["p90_us"] <= row["p99_us"] <= row["max_us"]


def test_the_load_generator_ends_when_nobody_listens(kit: tools.Tools, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_bytes(PLAIN)
    words = ["--port", str(proc.free_port()), "--body", str(body), "--connections", "2"]
    row = json.loads(proc.run_quietly([*kit.load, *words, "--seconds", "0.2"], 30))
    assert row["answered"] == 0
    assert row["errors"] > 0


def rows(ours: float, floor: float) -> list[report.Row]:
    """Three rounds of one scenario; the median is the middle one."""
    return [
        {"target": target, "scenario": "loop", "rps": rps * share}
        for target, rps in (("ours", ours), ("floor", floor))
        for share in (0.1, 1.0, 3.0)
    ]


def test_bars_say_which_and_by_how_much() -> None:
    over = report.medians(rows(1000, 100_000))
    bar, *others = report.bars(over, 1.0, True, ["floor", "ours"])
    assert not bar.passed
    assert bar.line() == ("FAIL  requests/s, ours / floor: 0.01 (bar >= 0.02): short by 0.01, 50 %")
    assert [other.passed for other in others] == [False] * 4  # not measured is not passed
    assert report.Bar("x", 49.0, 50.0, False, " ms").line() == "pass  x: 49 ms (bar <= 50 ms)"


@pytest.mark.parametrize(("entries", "passed"), [(9, False), (10, True), (12, True), (13, False)])
def test_every_answer_has_an_entry(entries: int, passed: bool) -> None:
    ledger = {"audit": "", "entries": entries, "answered": 10, "unclear": 2}
    _, *bars = report.ledger_bars(ledger)
    assert all(bar.passed for bar in bars) is passed


def test_the_readme_keeps_what_is_around_the_markers() -> None:
    text = f"a\n{table.START}\nold\n{table.END}\nb\n"
    assert table.written(text, "new") == f"a\n{table.START}\nnew\n{table.END}\nb\n"
    with pytest.raises(ValueError, match="README"):
        table.written("no markers", "new")
