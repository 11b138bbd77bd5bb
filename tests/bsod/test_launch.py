"""`python -m bsod.launch` for real, as `make run` starts it: what it prints, serves and leaves.

On a DATA_DIR and a SQLite database of its own, so it runs once and not for each database; the one
test of a start on the suite's database says so.
"""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from django.conf import settings
from django.db import connection

from bsod.greeting import curl
from tests import kit
from tests.bsod.launcher import ROOT, SECRETS, Run, put_away, shell
from tests.template import take
from tests.upstream import FaultServer, chat, hang, models

CURL = re.compile(r"^curl .*\\\n.*\\\n     -d '.*'$", re.M)
NO_DATABASE = {"DATABASE_URL": "postgres://u@127.0.0.1:9/x"}
NO_FOLDER = {**NO_DATABASE, "DATA_DIR": "/proc", "SECRET_KEY": "k", "VAULT_KEYS": f"{'A' * 43}="}
Start = Callable[..., Run]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_DIR whose database has its tables and nobody in it: making these takes seconds, and
    `first` has seen them made."""
    folder = tmp_path_factory.mktemp("migrated")
    if not take(folder / "bsod.sqlite3"):
        done = kit.manage("migrate", DATABASE_URL="", DATA_DIR=str(folder))
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start launchers; whatever is left of them is killed after the test."""
    started: list[Run] = []

    def begin(data_dir: Path | None = None, **given: str) -> Run:
        data_dir = data_dir or tmp_path / "data"
        if not data_dir.exists():
            shutil.copytree(request.getfixturevalue("migrated"), data_dir)
        started.append(Run(data_dir, **given))
        return started[-1]

    yield begin
    for run in started:
        put_away(run)


# ---- the first start, with the bundled model


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = Run(tmp_path_factory.mktemp("first") / "data", LOCAL_MODEL="on", WARM_UP="on")
    yield run.serves()
    put_away(run)


@pytest.mark.once
def test_the_box_has_all_a_newcomer_needs(first: Run) -> None:
    box = first.output[first.output.index("─") :].strip().splitlines()
    assert box[0] == box[-1] == "─" * 78
    password, key = first.secrets()
    assert len(password) >= 12
    assert key.startswith("bsod-")
    assert f"BSOD answers at {first.url}/v1" in box
    assert first.output.count(key) == 2, "shown, and in the curl, and in no log"
    assert not first.output.isascii(), "the rules and the greeting are typography"


@pytest.mark.once
def test_what_it_keeps_is_for_the_owner_alone(first: Run) -> None:
    assert stat.S_IMODE(first.data_dir.stat().st_mode) == 0o700
    for path in first.data_dir.glob("bsod.sqlite3*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    password, key = first.secrets()
    lines = " ".join(first.running().values())
    assert password not in lines
    assert key not in lines, "a command line is for everybody to read"


@pytest.mark.once
def test_the_printed_curl_works_when_pasted(first: Run) -> None:
    found = CURL.search(first.output)
    assert found
    answer = json.loads(shell(found.group().replace("curl ", "curl -sS ", 1)))
    assert answer["model"] == "smollm2-135m-instruct"
    assert answer["choices"][0]["message"]["content"].strip()
    usage = answer["usage"]
    assert 0 < usage["completion_tokens"] <= 64
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]

    before = charged(first)
    streamed = found.group().replace("curl ", "curl -sSN ", 1).replace("{", '{"stream":true,', 1)
    usage_asked = streamed.replace("{", '{"stream_options":{"include_usage":true},', 1)
    usage_asked = usage_asked.replace('"max_tokens":64', '"max_tokens":12')
    events = [line[6:] for line in shell(usage_asked).splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas).strip()
    assert len(deltas) > 3, "it came in pieces"
    assert charged(first) - before == chunks[-1]["usage"]["total_tokens"]


@pytest.mark.once
def test_a_providers_name_for_a_model_cannot_end_the_curls_quotes() -> None:
    name = "it's $(touch /tmp/x) `id`"
    command = " ".join(["printf '%s\\n'", *curl("http://127.0.0.1:1", "bsod-x", name)])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["model"] == name


def charged(run: Run) -> int:
    """What `manage.py audit_ledger` says has been charged; it also finds no drift."""
    done = subprocess.run(
        [sys.executable, "manage.py", "audit_ledger"], cwd=ROOT, capture_output=True, text=True,
        env={"DATA_DIR": str(run.data_dir), "PATH": os.environ["PATH"]}, timeout=60, check=True,
    )  # fmt: skip
    assert "The ledger adds up." in done.stdout
    found = re.search(r"text.base: (\d+) charged", done.stdout)
    return int(found.group(1)) if found else 0


@pytest.mark.once
def test_the_printed_password_signs_in_and_the_admin_asks_for_a_second_factor(first: Run) -> None:
    password, _ = first.secrets()
    with requests.Session() as session:
        asked = session.get(f"{first.url}/admin/", timeout=20)
        assert asked.url == f"{first.url}/login/?next=%2Fadmin%2F"
        fields = {"login": "admin", "password": password, "next": "/admin/",
                  "csrfmiddlewaretoken": session.cookies["csrf"]}  # fmt: skip
        page = session.post(f"{first.url}/login/", data=fields, timeout=20)
    assert page.url == f"{first.url}/account/security/"
    assert "The admin asks for a second factor" in page.text


@pytest.mark.once
def test_what_dies_is_started_again(first: Run) -> None:
    _, key = first.secrets()
    for words in ("bsod.localmodel", "manage.py worker", "bin/gunicorn"):
        old = first.pid(words)
        assert old, words
        os.kill(old, signal.SIGKILL)
        back = kit.eventually(lambda w=words, o=old: first.pid(w) not in (0, o), 30, 0.1)
        assert back, f"{words} did not come back:\n{first.output}"
    answered = kit.eventually(lambda: answers(first, key), 60, 0.5)
    assert answered, first.output
    for name in ("local model", "worker", "gateway"):
        assert f"{name} stopped; starting it again in 1 s" in first.output


def answers(run: Run, key: str) -> bool:
    try:
        return run.chat(key, "smollm2-135m-instruct").status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.once
def test_nothing_outlives_a_launcher_that_is_killed(first: Run) -> None:
    # The last to use it; the one before may have left one of the five on its way.
    assert kit.eventually(lambda: len(first.running()) >= 5, 20, 0.1), first.output
    first.process.kill()
    first.process.wait(10)
    assert first.gone(15), first.running()


# ---- stopping early


@pytest.mark.once
def test_stopped_before_it_was_up_it_loses_nothing(start: Start) -> None:
    run = start(LOCAL_MODEL="on").says("Starting the bundled language model")
    assert run.stop() == 0
    assert run.gone()
    assert "Traceback" not in run.output
    assert SECRETS.search(run.output) is None, "nobody has read them"

    # Under nohup a hangup is nothing, and a termination ends it all the same.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        again = start(WEB_CONCURRENCY="")  # what is ignored is inherited; empty is unset
    finally:
        signal.signal(signal.SIGHUP, before)
    again.serves().secrets()
    again.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert again.get("/livez", "").status_code == 200
    assert again.stop(signal.SIGTERM) == 0
    assert not again.running()


# ---- what stands in its way


@pytest.mark.once
def test_a_taken_port_is_one_clear_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = start(PORT=str(port))
        code, output = run.ends()
    assert code == 1
    assert output == (
        f"BSOD cannot start: Cannot listen on 127.0.0.1 port {port}: Address already in use. "
        "Set HOST and PORT.\n"
    )
    assert not run.running()


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"SITE_URL": "https://api.example.org"}, "SECRET_KEY must be set"),
        (NO_FOLDER, "setup.lock"),
        (NO_DATABASE, "the database does not answer"),
        ({"HOST": "192.0.2.1"}, "Cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_be_is_said_and_not_thrown(
    start: Start, given: dict[str, str], says: str
) -> None:
    code, output = start(**given).ends()
    assert code == 1
    assert says in output
    assert "Traceback" not in output


@pytest.mark.once
def test_it_goes_on_without_a_model_that_does_not_start(start: Start, tmp_path: Path) -> None:
    # A module of that name without the package's folder: as if the wheel were missing.
    (tmp_path / "xllamacpp.py").write_text("")
    run = start(LOCAL_MODEL="on", PYTHONPATH=str(tmp_path)).serves()
    assert "local model: the package xllamacpp is not installed: run `make install`" in run.output
    assert "local model does not stay up; going on without it." in run.output
    assert "No provider yet" in run.output
    assert CURL.search(run.output) is None, "it would not work"
    _, key = run.secrets()
    assert run.models(key) == []


# ---- providers of the environment; stopping, starting again


@pytest.fixture(scope="module")
def up() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.default = models(["gpt-5.4-mini", "gpt-6"])
        yield server


@pytest.fixture(scope="module")
def provided(
    up: FaultServer, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """A first start with providers in the environment."""
    data_dir, port = tmp_path_factory.mktemp("provided") / "data", str(kit.free_port())
    shutil.copytree(migrated, data_dir)
    run = Run(
        data_dir, PORT=port,
        OPENAI_API_KEY=" sk-from-env\n", OPENAI_BASE_URL=f"{up.base_url}/",
        GEMINI_API_KEY="g-key", GEMINI_BASE_URL="http://127.0.0.1:9/v1",
        ANTHROPIC_API_KEY="a-key", ANTHROPIC_BASE_URL="api.anthropic",
        PERPLEXITY_API_KEY="p-key", PERPLEXITY_BASE_URL=f"http://localhost:{port}/v1",
        # How long a lock was held depends on the machine.
        LOG_LEVEL="WARNING",
    )  # fmt: skip
    yield run.serves()
    put_away(run)


@pytest.fixture(scope="module")
def again(up: FaultServer, provided: Run) -> Iterator[Run]:
    """The second start, on what the first one has left."""
    if provided.process.poll() is None:
        provided.stop()
    known = {"OPENAI_API_KEY": "sk-from-env", "OPENAI_BASE_URL": up.base_url}
    run = Run(provided.data_dir, **known, DRAIN_SECONDS="60")
    yield run.serves()
    put_away(run)


@pytest.mark.once
def test_the_environments_providers_are_there(provided: Run, up: FaultServer) -> None:
    assert "openai: key …-env answers; 2 models" in provided.output
    assert "gemini: key …-key cannot be reached; 0 models" in provided.output
    assert "anthropic: The base URL must look like" in provided.output
    assert "perplexity: its base URL is this site, so it is no provider" in provided.output
    assert not [secret for secret in ("sk-from-env", "a-key") if secret in provided.output]
    _, key = provided.secrets()
    assert provided.models(key) == ["gpt-5.4-mini", "gpt-6"]
    listed, up.default = up.default, chat("From upstream")
    found = CURL.search(provided.output)
    assert found
    answer = json.loads(shell(found.group().replace("curl ", "curl -sS ", 1)))
    assert answer["choices"][0]["message"]["content"] == "From upstream"
    assert up.count(key="sk-from-env") == len(up.seen)
    up.default = listed


@pytest.mark.once
def test_it_stops_all_it_started(provided: Run) -> None:
    # The last to use it.
    assert len(provided.running()) >= 4
    assert provided.stop() == 0
    assert not provided.running()
    assert provided.output.splitlines()[-1] == "Stopping …"
    assert "Traceback" not in provided.output


@pytest.mark.once
def test_it_starts_again_without_secrets(provided: Run, again: Run) -> None:
    password, key = provided.secrets()
    assert SECRETS.search(again.output) is None
    assert password not in again.output
    assert key not in again.output
    assert "openai:" not in again.output, "it is there already"
    assert again.models(key) == ["gpt-5.4-mini", "gpt-6"]


@pytest.mark.once
def test_a_second_signal_does_not_wait_for_calls_that_run(
    provided: Run, again: Run, up: FaultServer
) -> None:
    # The last to use it.
    _, key = provided.secrets()
    up.default = hang()
    caller = threading.Thread(target=quietly, args=(again.chat, key, "gpt-6"), daemon=True)
    asked = "/chat/completions"
    before = up.count(path_suffix=asked)
    caller.start()
    assert kit.eventually(lambda: up.count(path_suffix=asked) > before, 20), again.output
    again.process.send_signal(signal.SIGINT)
    again.says("Stopping …")
    time.sleep(1)
    assert again.process.poll() is None, "the call has time to end"
    began = time.monotonic()
    assert again.stop() == 0
    assert time.monotonic() - began < 10
    assert again.gone()


def quietly(call: Callable[..., Any], *args: Any) -> None:
    try:
        call(*args)
    except requests.RequestException:
        return


@pytest.mark.postgresql
def test_it_starts_on_the_suites_database_too(start: Start, tmp_path: Path) -> None:
    with fresh_database() as url:
        (tmp_path / "data").mkdir()
        run = start(DATABASE_URL=url).serves()
        _, key = run.secrets()
        assert run.get("/balance/", key).json()["daily_used"]["text.base"] == 0
        assert run.stop() == 0


class fresh_database:  # noqa: N801  # used like a function
    """An empty database beside the suite's."""

    def __enter__(self) -> str:
        self.name = kit.unique("launch").replace("-", "_")
        self._do(f"CREATE DATABASE {self.name}")
        own = str(settings.DATABASES["default"]["NAME"])
        head, _, query = kit.database_url().partition("?")
        assert own in head
        return f"{head.rpartition('/')[0]}/{self.name}" + (f"?{query}" if query else "")

    def __exit__(self, *_: object) -> None:
        if connection.vendor != "sqlite":
            self._do(f"DROP DATABASE {self.name} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        params = connection.get_connection_params()
        for name in ("cursor_factory", "context", "prepare_threshold"):
            params.pop(name, None)
        with psycopg.connect(**params, autocommit=True) as own:
            own.execute(statement)
