"""`make run`: everything on one machine, in one terminal. `python -m bsod.launch`.

Prepares the database, then supervises three children: the bundled model, gunicorn and the
worker. A child that dies is started again. Ctrl-C stops everything; a second one at once.
"""

import contextlib
import ctypes
import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from types import FrameType

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.migrations.exceptions import MigrationSchemaMissing

from bsod.greeting import greeting

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bsod.settings")

_STOP_WITHIN = 80.0  # seconds: gunicorn's own grace and a little
_START_WITHIN = 120.0  # the model reads its weights, perhaps from a slow disk
_LONGEST_PAUSE = 30.0
_TOO_OFTEN = 5  # quick deaths of one child before the launcher gives up

# The children are on loopback: whatever proxy the environment names is not for them.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Stopped(BaseException):
    """Somebody asked us to stop, at whatever point we were."""


@dataclass
class Child:
    """A supervised process. One that is not essential is given up when it does not stay up."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    essential: bool = True
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0
    deaths: int = 0
    again_at: float = 0.0

    def start(self) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603  # our own commands
            self.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            # Not the terminal's group: Ctrl-C is ours to pass on, in order.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.process and self.alive():
            self.process.send_signal(number)

    def kill(self) -> None:
        """At once, and with all it has started: gunicorn's workers have calls to wait for."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def _die_with_parent() -> None:
    """Linux: the child gets SIGTERM when the launcher dies, however it dies."""
    if _libc:
        _libc.prctl(1, signal.SIGTERM)


class Supervisor:
    def __init__(self) -> None:
        self.children: list[Child] = []
        self.stopping = False
        self._forking = False

    def add(self, child: Child) -> Child:
        self.children.append(child)
        self._start(child)
        return child

    def _start(self, child: Child) -> None:
        # What a handler raises around a fork is thrown away: Python's own hooks run there.
        self._forking = True
        try:
            child.start()
        finally:
            self._forking = False
        self.heed()

    def give_up(self, child: Child) -> None:
        """Go on without it."""
        say(f"{child.name} does not stay up; going on without it.")
        child.kill()
        self.children.remove(child)

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """A signal's handler: the first asks, the second does not."""
        if self.stopping:
            for child in self.children:
                child.kill()
            return
        self.stopping = True
        if not self._forking:
            raise Stopped

    def heed(self) -> None:
        """Stop if somebody has asked for it and nothing came of it yet."""
        if self.stopping:
            raise Stopped

    def watch(self) -> None:
        """Keep the children alive; returns when an essential one does not stay up."""
        while True:
            self.heed()
            for child in list(self.children):
                if not child.alive() and not self._revive(child):
                    if child.essential:
                        say(f"{child.name} does not stay up; see the lines above.")
                        return
                    self.give_up(child)
            time.sleep(0.2)

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
            self._start(child)
        return True

    def hears(self, url: str, child: Child, seconds: float) -> bool:
        """Wait for a 200 from a child that is starting."""
        deadline = time.monotonic() + seconds
        while child.alive() and time.monotonic() < deadline:
            self.heed()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if _opener.open(url, timeout=2).status == 200:
                    return True
            time.sleep(0.1)
        return False

    def end(self) -> None:
        """Gateway and worker first, the model last: calls that run may still need it."""
        self.stopping = True
        for essential in (True, False):
            group = [child for child in self.children if child.essential is essential]
            for child in group:
                child.signal(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_WITHIN
            while any(child.alive() for child in group) and time.monotonic() < deadline:
                time.sleep(0.05)
            for child in group:
                child.kill()


def say(text: str) -> None:
    print(text, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cannot_listen(host: str, port: int) -> str:
    """Why nothing can listen there, or nothing. gunicorn would say it five times over."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            return f"Cannot listen on {host} port {port}: {reason}. Set HOST and PORT."
    return ""


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that is not UTF-8 is no reason to die
    supervisor = Supervisor()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup a hangup is ignored, and stays so.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, supervisor.stop)
    try:
        _run(supervisor)
    except Stopped:
        say("Stopping …")
        return 0
    except ImproperlyConfigured as error:
        say(f"BSOD cannot start: {error}")
    except OperationalError as error:
        say(f"BSOD cannot start: the database does not answer: {str(error).strip()}")
    except (MigrationSchemaMissing, OSError) as error:
        # A full disk, a folder of somebody else's, a database where we may make nothing.
        say(f"BSOD cannot start: {error}")
    finally:
        supervisor.end()
    return 1


def _run(supervisor: Supervisor) -> None:
    import django

    django.setup()
    from django.conf import settings
    from django.db import connections

    from bsod import bootstrap

    if problem := cannot_listen(settings.HOST, settings.PORT):
        raise ImproperlyConfigured(problem)
    say("BSOD: preparing the database …")
    bootstrap.check()
    bootstrap.migrate()
    command = [_beside("gunicorn"), "-c", "bsod/gunicorn.py", "bsod.asgi:application"]
    # gunicorn reads it, too, and does not start with an empty one.
    given = {"WEB_CONCURRENCY": str(settings.WEB_CONCURRENCY)}
    gateway = supervisor.add(Child("gateway", command, given))
    supervisor.add(Child("worker", [sys.executable, "manage.py", "worker"]))
    _local_model(supervisor, settings.LOCAL_MODEL)
    for line in bootstrap.environment_providers():
        say(line)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)
    netloc = f"[{host}]:{settings.PORT}" if ":" in host else f"{host}:{settings.PORT}"
    if supervisor.hears(f"http://{netloc}/readyz", gateway, 60):
        # Made only now that they can be shown: what is shown once must not be lost in a failure.
        say(greeting(settings.SITE_URL, bootstrap.first_people(), bootstrap.a_model()))
    connections.close_all()
    supervisor.watch()


def _local_model(supervisor: Supervisor, wanted: bool) -> None:
    from bsod import bootstrap

    if not wanted:
        bootstrap.no_local_provider()
        return
    say("Starting the bundled language model …")
    port = free_port()
    command = [sys.executable, "-m", "bsod.localmodel", "--port", str(port)]
    known_by = {"LOCAL_MODEL_KEY": bootstrap.local_key()}
    child = supervisor.add(Child("local model", command, known_by, essential=False))
    if supervisor.hears(f"http://127.0.0.1:{port}/health", child, _START_WITHIN):
        bootstrap.local_provider(port)
    else:
        supervisor.give_up(child)
        bootstrap.no_local_provider()


def _beside(name: str) -> str:
    return os.path.join(os.path.dirname(sys.executable), name)


if __name__ == "__main__":
    sys.exit(main())
