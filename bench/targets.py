"""What is measured: the floor and our own gateway. The other gateways are in peers.py.

A target is set up once and started anew in every round, alone, on the measured core.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from proc import (
    Command,
    Process,
    StartError,
    Supervisor,
    clean_env,
    cores,
    free_port,
    members,
    pss_mb,
    run_quietly,
    stat_fields,
    wait_http,
)
from tools import Tools

ROOT = Path(__file__).resolve().parent.parent
LOCKS = Path(__file__).resolve().parent / "peers"
MODEL = "bench-model"
UPSTREAM_KEY = "sk-mock-bench"


@dataclass(frozen=True)
class Gateway:
    """A running target: where a chat completion is asked, and with what."""

    process: Process
    port: int
    key: str = ""
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(default_factory=dict)


class Target(Protocol):
    """One column of the results."""

    name: str
    version: str

    def prepare(self, upstream: int) -> None:
        """Install and set up what is done once; ``upstream`` is the mock's port."""

    def start(self, supervisor: Supervisor) -> Gateway:
        """Start it; it answers when this returns."""


@dataclass(frozen=True)
class Workplace:
    """Where a run keeps its files, and what it measures with."""

    folder: Path
    tools: Tools

    def own(self, name: str) -> Path:
        """A folder for one target."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def chat(gateway: Gateway) -> dict[str, object]:
    """One chat completion, to see that a target really answers, with usage."""
    headers = {"Content-Type": "application/json", **gateway.headers}
    if gateway.key:
        headers["Authorization"] = f"Bearer {gateway.key}"
    body = {"model": MODEL, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 64}
    url = f"http://127.0.0.1:{gateway.port}{gateway.path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        reply: dict[str, object] = json.load(answer)
    if not reply.get("usage"):
        raise ValueError(f"an answer without usage: {reply}")
    return reply


# ---- the floor ----------------------------------------------------------------------------------

NGINX = """
worker_processes 1; daemon off; pid {home}/nginx.pid; error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off; client_max_body_size 64m; keepalive_requests 100000000;
    client_body_buffer_size 128k;
    client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
    upstream mock {{ server 127.0.0.1:{upstream}; keepalive 4096;
                     keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://mock; proxy_http_version 1.1; proxy_buffering off;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


class Floor:
    """As little as a proxy can do: nginx ``proxy_pass``, else a relay that only moves bytes."""

    name = "floor"

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.nginx = shutil.which("nginx")
        self.version = "nginx proxy_pass" if self.nginx else "raw relay"
        self.upstream = 0

    def prepare(self, upstream: int) -> None:
        """Nothing to install."""
        self.upstream = upstream

    def command(self, home: Path, port: int) -> Command:
        """The floor's command line."""
        if not self.nginx:
            ports = ["--port", str(port), "--upstream-port", str(self.upstream)]
            return [*self.place.tools.relay, *ports]
        conf = home / "nginx.conf"
        conf.write_text(NGINX.format(home=home, port=port, upstream=self.upstream))
        return [self.nginx, "-p", home, "-c", conf, "-e", "stderr"]

    def start(self, supervisor: Supervisor) -> Gateway:
        """Start it on a fresh port."""
        home, port = self.place.own("floor"), free_port()
        process = supervisor.start("floor", self.command(home, port), cores()[1], clean_env(home))
        wait_http(process, port, "/v1/models", 10)
        return Gateway(process, port)


# ---- ours ---------------------------------------------------------------------------------------


def tree() -> str:
    """Which state of this repository is measured."""
    try:
        return run_quietly(
            ["git", "--no-optional-locks", "describe", "--always", "--dirty"], 10, cwd=ROOT
        ).strip()
    except (StartError, OSError, subprocess.TimeoutExpired):
        return "this tree"


COUNT_ENTRIES = "from quotas.models import Entry; print('entries', Entry.objects.count())"


class Ours:
    """Our gateway: one gunicorn worker, a fresh SQLite database on disk, nothing switched off."""

    name = "ours"

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.version = tree()
        self.data = place.folder / "data"
        self.bin = ROOT / ".venv" / "bin"
        self.key = ""
        self.entries_before = 0

    def env(self, port: int = 0) -> dict[str, str]:
        """The settings it runs with."""
        return clean_env(
            self.place.own("ours"),
            DATA_DIR=str(self.data),
            LOCAL_MODEL="off",
            HOST="127.0.0.1",
            PORT=str(port or 8000),
            WEB_CONCURRENCY="1",
        )

    def manage(self, *words: str) -> str:
        """Run a management command and return what it printed."""
        command: Command = [self.bin / "python", "manage.py", *words]
        return run_quietly(command, timeout=300, cwd=ROOT, env=self.env())

    def prepare(self, upstream: int) -> None:
        """A database, the mock as its one provider, a key without limits."""
        self.clean()
        self.data.mkdir(parents=True, mode=0o700)
        url = f"http://127.0.0.1:{upstream}/v1"
        self.manage("migrate")
        provider = f"mock --kind compatible --base-url {url} --key {UPSTREAM_KEY} --catch-all"
        self.manage("add_provider", *provider.split())
        self.manage("create_user", "bench")
        self.key = self.manage("create_key", "bench", "--unlimited").split()[-1]
        self.entries_before = self.entries()

    def start(self, supervisor: Supervisor) -> Gateway:
        """Start gunicorn as ``make run`` does."""
        port = free_port()
        command: Command = [
            self.bin / "gunicorn",
            "-c",
            "bsod/gunicorn.py",
            "bsod.asgi:application",
        ]
        process = supervisor.start("ours", command, cores()[1], self.env(port), cwd=ROOT)
        wait_http(process, port, "/livez", 60)
        return Gateway(process, port, self.key)

    @staticmethod
    def worker_mb(gateway: Gateway) -> float:
        """Pss of the worker, the biggest child of gunicorn's master; MB of 10^6 bytes."""
        master = gateway.process.pid
        children = [pid for pid in members(master) if stat_fields(pid)[1:2] == [str(master)]]
        return round(max((pss_mb(pid) for pid in children), default=0.0), 1)

    def entries(self) -> int:
        """How many entries the ledger has now."""
        return int(self.manage("shell", "-c", COUNT_ENTRIES).split("entries")[-1])

    def audit(self) -> str:
        """The ledger's own check: empty when it agrees with itself, else what it printed."""
        try:
            self.manage("audit_ledger")
        except (StartError, subprocess.TimeoutExpired) as exc:
            return str(exc)
        return ""

    def clean(self) -> None:
        """Remove the database."""
        shutil.rmtree(self.data, ignore_errors=True)
