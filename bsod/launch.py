"""`make run`: everything on one machine, in one terminal. `python -m bsod.launch`.

Prepares the database, then supervises three children: the bundled model, gunicorn and the
worker. A child that dies is started again. Ctrl-C stops everything; a second one at once.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bsod.settings")

_STOP_WITHIN = 80.0  # seconds: gunicorn's own grace and a little
_LONGEST_PAUSE = 30.0
_TOO_OFTEN = 5  # quick deaths of one child before the launcher gives up


@dataclass
class Child:
    """A supervised process."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0
    deaths: int = 0
    again_at: float = 0.0

    def start(self) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603  # our own commands
            self.command,
            env={**os.environ, **self.environment},
            # Not the terminal's group: Ctrl-C is ours to pass on, in order.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.process and self.alive():
            self.process.send_signal(number)


def _die_with_parent() -> None:
    """Linux: the child gets SIGTERM when the launcher dies, however it dies."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Supervisor:
    def __init__(self) -> None:
        self.children: list[Child] = []
        self.stopping = 0

    def add(self, child: Child) -> Child:
        self.children.append(child)
        child.start()
        return child

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """A signal's handler: the first asks, the second does not."""
        self.stopping += 1
        if self.stopping > 1:
            for child in self.children:
                child.signal(signal.SIGKILL)

    def watch(self) -> int:
        """Keep the children alive until told to stop; returns the exit code."""
        while not self.stopping:
            for child in self.children:
                if not child.alive() and not self._revive(child):
                    say(f"{child.name} does not stay up; see the lines above.")
                    self.end()
                    return 1
            time.sleep(0.2)
        say("Stopping …")
        self.end()
        return 0

    def _revive(self, child: Child) -> bool:
        now = time.monotonic()
        if not child.again_at:
            quick = now - child.began < 10
            child.deaths = child.deaths + 1 if quick else 1
            if child.deaths >= _TOO_OFTEN:
                return False
            pause = min(_LONGEST_PAUSE, 2.0 ** (child.deaths - 1))
            child.again_at = now + pause
            say(f"{child.name} stopped; starting it again in {pause:.0f} s")
        elif now >= child.again_at:
            child.again_at = 0.0
            child.start()
        return True

    def end(self) -> None:
        """Gateway and worker first, the model last: calls that run may still need it."""
        for group in (self.children[1:], self.children[:1]) if self._has_model() else (
            self.children,
        ):  # fmt: skip
            for child in group:
                child.signal(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_WITHIN
            while any(child.alive() for child in group) and time.monotonic() < deadline:
                time.sleep(0.05)
            for child in group:
                child.signal(signal.SIGKILL)

    def _has_model(self) -> bool:
        return bool(self.children) and self.children[0].name == "local model"


def say(text: str) -> None:
    print(text, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False


def answers(url: str, child: Child, supervisor: Supervisor, seconds: float) -> bool:
    """Wait for a 200 from a child that is starting."""
    deadline = time.monotonic() + seconds
    while child.alive() and not supervisor.stopping and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310  # http, loopback
                if reply.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def main() -> int:
    import django

    say("BSOD: preparing the database …")
    django.setup()
    from django.conf import settings

    from bsod import bootstrap

    if taken(settings.HOST, settings.PORT):
        say(f"{settings.HOST}:{settings.PORT} is taken. Stop what listens there, or set PORT.")
        return 1
    bootstrap.migrate()
    supervisor = Supervisor()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, supervisor.stop)
    try:
        return _run(supervisor, settings.HOST, settings.PORT)
    finally:
        supervisor.end()


def _run(supervisor: Supervisor, host: str, port: int) -> int:
    from django.conf import settings

    from bsod import bootstrap

    welcome = bootstrap.first_people()
    if settings.LOCAL_MODEL:
        _start_model(supervisor, bootstrap.local_key(), bootstrap.local_provider)
    else:
        bootstrap.no_local_provider()
    for line in bootstrap.environment_providers():
        say(line)
    gateway = supervisor.add(
        Child("gateway", [_beside("gunicorn"), "-c", "bsod/gunicorn.py", "bsod.asgi:application"])
    )
    supervisor.add(Child("worker", [sys.executable, "manage.py", "worker"]))
    address = f"{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    if answers(f"http://{address}/readyz", gateway, supervisor, 60):
        say(box(_greeting(settings.SITE_URL, welcome)))
    return supervisor.watch()


def _start_model(supervisor: Supervisor, key: str, register: Callable[[int], int]) -> None:
    say("Starting the bundled language model …")
    port = free_port()
    command = [sys.executable, "-m", "bsod.localmodel", "--port", str(port)]
    child = supervisor.add(Child("local model", command, {"LOCAL_MODEL_KEY": key}))
    if answers(f"http://127.0.0.1:{port}/health", child, supervisor, 60):
        register(port)
    else:
        say("The bundled model did not start; LOCAL_MODEL=off goes without it.")


def _beside(name: str) -> str:
    return os.path.join(os.path.dirname(sys.executable), name)


def _greeting(site: str, welcome: "object | None") -> list[str]:
    from bsod.bootstrap import Welcome

    if not isinstance(welcome, Welcome):
        return [f"BSOD answers at {site}/v1", f"Admin: {site}/admin/", "Ctrl-C stops it."]
    return [
        f"BSOD answers at {site}/v1",
        "",
        "Shown once, keep them:",
        f"  admin at {site}/admin/   {welcome.username} / {welcome.password}",
        f"  API key   {welcome.key}",
        "",
        "Try it:",
        *curl(site, welcome.key),
        "",
        "Ctrl-C stops everything.",
    ]


def curl(site: str, key: str) -> list[str]:
    """A request that works when pasted."""
    return [
        f'curl {site}/v1/chat/completions -H "Authorization: Bearer {key}" \\',
        '     -H "Content-Type: application/json" \\',
        '     -d \'{"model":"smollm2-135m-instruct","messages":[{"role":"user",'
        '"content":"Привет"}],"max_tokens":64}\'',
    ]


def box(lines: list[str]) -> str:
    """Rules above and below only: what is inside can be selected and pasted as it is."""
    rule = "─" * 78
    return "\n".join([rule, *lines, rule])


if __name__ == "__main__":
    sys.exit(main())
