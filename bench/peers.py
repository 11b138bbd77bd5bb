"""Other gateways, each in the most favourable ordinary configuration, strictly on 127.0.0.1.

Installed once under ``.bench/``, pinned with hashes by the lock files in ``peers/``. None of them
has a database here and none keeps a ledger, so they do less than ours does.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from proc import (
    Command,
    StartError,
    Supervisor,
    clean_env,
    cores,
    free_port,
    run_quietly,
    wait_http,
)
from targets import LOCKS, MODEL, UPSTREAM_KEY, Gateway, Workplace

INSTALL_SECONDS = 900
START_SECONDS = 120


def fingerprint(*files: Path) -> str:
    """Says whether what is installed is what the lock files say."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def fresh(home: Path, mark: str) -> bool:
    """Whether ``home`` was installed from these lock files, to the end."""
    done = home / "installed"
    return done.exists() and done.read_text() == mark


def pinned(lock: Path, package: str) -> str:
    """The version a lock file names."""
    for line in lock.read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.split("==")[1].split()[0]
    return "?"


class PythonPeer:
    """A gateway from a Python package, in a virtual environment of its own."""

    name = ""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.lock = LOCKS / f"{self.name}.txt"
        self.version = pinned(self.lock, self.name)
        self.venv = place.folder / "peers" / self.name
        self.home = place.own(f"{self.name}-home")
        self.upstream = 0

    def prepare(self, upstream: int) -> None:
        """Install from the lock, hashes required."""
        self.upstream = upstream
        mark = fingerprint(self.lock)
        if fresh(self.venv, mark):
            return
        print(f"installing {self.name} {self.version} …", flush=True)
        shutil.rmtree(self.venv, ignore_errors=True)
        run_quietly([sys.executable, "-m", "venv", self.venv], INSTALL_SECONDS)
        pip: Command = [
            self.venv / "bin" / "pip",
            "install",
            "-q",
            "--require-hashes",
            "-r",
            self.lock,
        ]
        run_quietly(pip, INSTALL_SECONDS)
        (self.venv / "installed").write_text(mark)

    def launch(
        self, supervisor: Supervisor, words: list[str], port: int, health: str, **env: str
    ) -> Gateway:
        """Start its command with ``words`` and wait until it is healthy."""
        command: Command = [self.venv / "bin" / self.name, *words]
        settings = clean_env(self.home, **env)
        process = supervisor.start(self.name, command, cores()[1], settings, cwd=self.home)
        wait_http(process, port, health, START_SECONDS)
        return Gateway(process, port)


LITELLM = f"""
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: http://127.0.0.1:{{upstream}}/v1
      api_key: {UPSTREAM_KEY}
litellm_settings:
  telemetry: false
  num_retries: 0
"""


class LiteLLM(PythonPeer):
    """LiteLLM's proxy: no database, one worker, logs off; it refuses to start without a key."""

    name = "litellm"
    key = "sk-bench-0123456789abcdef0123456789abcdef"

    def start(self, supervisor: Supervisor) -> Gateway:
        """Start it on a fresh port."""
        port, conf = free_port(), self.home / "config.yaml"
        conf.write_text(LITELLM.format(upstream=self.upstream))
        words = ["--config", str(conf), "--host", "127.0.0.1", "--port", str(port)]
        words += ["--num_workers", "1", "--telemetry", "False"]
        env = {
            "LITELLM_MASTER_KEY": self.key,
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_TELEMETRY": "False",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it downloads one at start
        }
        started = self.launch(supervisor, words, port, "/health/liveliness", **env)
        return Gateway(started.process, port, self.key)


ROLTER = f"""
[server]
host = "127.0.0.1"
port = {{port}}
[[providers.readonly]]
name = "mock"
kind = "openai_compatible"
api_base = "http://127.0.0.1:{{upstream}}"
[[routes]]
model = "{MODEL}"
strategy = "round_robin"
[[routes.targets]]
provider = "mock"
model = "{MODEL}"
[[virtual_keys]]
key = "sk-rolter-bench"
"""


class Rolter(PythonPeer):
    """rolter's gateway (Rust), from a file, with one virtual key."""

    name = "rolter"

    def start(self, supervisor: Supervisor) -> Gateway:
        """Start it on a fresh port."""
        port, conf = free_port(), self.home / "rolter.toml"
        conf.write_text(ROLTER.format(port=port, upstream=self.upstream))
        words = ["gateway", "--config", str(conf)]
        started = self.launch(supervisor, words, port, "/healthz", RUST_LOG="error")
        return Gateway(started.process, port, "sk-rolter-bench")


class Smg(PythonPeer):
    """smg's router (Rust) in front of one OpenAI backend."""

    name = "smg"

    def start(self, supervisor: Supervisor) -> Gateway:
        """Start it on a fresh port."""
        port = free_port()
        words = ["launch", "--host", "127.0.0.1", "--port", str(port)]
        words += ["--backend", "openai", "--worker-urls", f"http://127.0.0.1:{self.upstream}"]
        words += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
        words += ["--history-backend", "none", "--log-level", "error", "--disable-health-check"]
        started = self.launch(supervisor, words, port, "/liveness")
        return Gateway(started.process, port, UPSTREAM_KEY)


class Portkey:
    """Portkey's gateway (Node), no keys and no cache; the provider is named by headers."""

    name = "portkey"

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.locks = LOCKS / "portkey"
        self.folder = place.folder / "peers" / "portkey"
        self.package = self.folder / "node_modules" / "@portkey-ai" / "gateway"
        self.version = (self.locks / "package.json").read_text().split('gateway": "')[1][:6]
        self.upstream = 0

    def prepare(self, upstream: int) -> None:
        """Install from the lock; the packages' own scripts are not run."""
        self.upstream = upstream
        files = [self.locks / name for name in ("package.json", "package-lock.json")]
        mark = fingerprint(*files)
        if fresh(self.folder, mark):
            return
        if not shutil.which("npm"):
            raise StartError("portkey needs Node and npm on PATH")
        print(f"installing portkey {self.version} …", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for path in files:
            shutil.copy(path, self.folder)
        flags = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        run_quietly(["npm", "ci", *flags], INSTALL_SECONDS, cwd=self.folder)
        (self.folder / "installed").write_text(mark)

    def start(self, supervisor: Supervisor) -> Gateway:
        """Start it on a fresh port."""
        port = free_port()
        command: Command = [
            "node",
            "--require",
            self.locks / "loopback.cjs",
            self.package / "build" / "start-server.js",
            f"--port={port}",
            "--headless",
        ]
        env = clean_env(self.place.own("portkey-home"), NODE_ENV="production")
        process = supervisor.start("portkey", command, cores()[1], env)
        wait_http(process, port, "/", START_SECONDS)
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{self.upstream}/v1",
        }
        return Gateway(process, port, UPSTREAM_KEY, headers=headers)


PEERS = {peer.name: peer for peer in (LiteLLM, Portkey, Rolter, Smg)}


def default_peers() -> list[str]:
    """What a full run measures when it is not told: LiteLLM, and Portkey where Node is."""
    return ["litellm", *(["portkey"] if shutil.which("node") and shutil.which("npm") else [])]
