"""The two servers of a run: OpenAI's mock, and a gateway of ours with a database of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.install import ROOT, CannotRun

# As OpenAI's own scripts/mock starts it; only the port is ours.
MOCK_OPTIONS = (
    "--validator-query-array-format=brackets", "--validator-form-array-format=brackets",
    "--validator-query-object-format=brackets", "--validator-form-object-format=brackets",
)  # fmt: skip

# The servers are on loopback: whatever proxy the environment names is not for them.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Gateway:
    port: int
    key: str
    environment: Mapping[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def mock(command: Sequence[str], specification: Path, log: Path) -> Iterator[int]:
    """Yields the port of a running mock."""
    port = free_port()
    options = ["--host", "127.0.0.1", "-p", str(port), *MOCK_OPTIONS, str(specification)]
    with _running("OpenAI's mock", [*command, *options], log) as process:
        _wait("OpenAI's mock", f"http://127.0.0.1:{port}/_x-steady/health", process, log)
        yield port


@contextlib.contextmanager
def gateway(provider: str, data: Path, log: Path, *, operator: bool) -> Iterator[Gateway]:
    """A gateway with the provider at that address and one key; a stop lets its calls end."""
    port = free_port()
    env = environment(DATA_DIR=str(data), HOST="127.0.0.1", PORT=str(port), WEB_CONCURRENCY="2",
                      LOCAL_MODEL="off", DJANGO_SETTINGS_MODULE="bsod.settings")  # fmt: skip
    name = "operator" if operator else "user"
    manage(env, "migrate", "--verbosity", "0")
    manage(env, "add_provider", "mock", "--kind", "compatible", "--base-url", provider,
           "--key", "sk-mock", "--catch-all")  # fmt: skip
    manage(env, "create_user", name, *(["--admin"] if operator else []))
    flags = ["--operator"] if operator else []
    key = manage(env, "create_key", name, "--unlimited", *flags).split()[-1]
    command = [str(Path(sys.executable).parent / "gunicorn"), "-c", "bsod/gunicorn.py",
               "bsod.asgi:application"]  # fmt: skip
    with _running("the gateway", command, log, cwd=ROOT, env=env) as process:
        _wait("the gateway", f"http://127.0.0.1:{port}/readyz", process, log)
        yield Gateway(port, key, env)


def environment(**more: str) -> dict[str, str]:
    """What the processes of a run inherit: nothing that names another database, key or place."""
    foreign = ("DATABASE_URL", "CACHE_URL", "SITE_URL", "PYTEST_ADDOPTS", "PYTHONPATH")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in foreign
        and not name.endswith(("_API_KEY", "_BASE_URL", "_FILE"))
        and not name.startswith(("OPENAI_", "AZURE_", "SECRET_", "VAULT_"))
        and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def manage(env: Mapping[str, str], *args: str) -> str:
    """A management command; what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *args], cwd=ROOT, env=dict(env),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise CannotRun(f"manage.py {args[0]} failed:\n{said}")
    return done.stdout


@contextlib.contextmanager
def _running(
    what: str, command: Sequence[str], log: Path, *, cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command), cwd=cwd, env=dict(env or environment()), stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
        if process.poll() is not None:
            raise CannotRun(f"{what} died during the run:\n{_end_of(log)}")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(90)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(what: str, url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if _opener.open(url, timeout=2).status == 200:
                return
        time.sleep(0.1)
    raise CannotRun(f"{what} did not start:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
