"""Starts of `manage.py` and gunicorn at a third of their price: forked from a process that waits.

Most of a start is reading what every start reads: Django, the drivers, our own code that is pure.
One process for each run of pytest has read that, and nothing that looks at settings or at the
environment. It is told over a socket what to run, forks, gives the child an environment, a session
and outputs of its own, and there runs the script from its first line, as `python SCRIPT` would.

What the interpreter or a C library reads from the environment at its very start (`AT_START`) comes
too late for a fork: who changes that gets a process of the usual kind.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn, Union

ROOT = Path(__file__).resolve().parent.parent
AT_START = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "TZ", "OPENSSL_", "PSYCOPG_")
READ = """
    asyncio uvloop ssl sqlite3 psycopg requests sseclient yaml httptools orjson environ redis argon2
    cryptography.fernet whitenoise.middleware prometheus_client django.core.asgi
    django.contrib.admin django.contrib.postgres.fields django.core.management.commands.migrate
    django.db.backends.sqlite3.base django.db.backends.postgresql.base
    django.contrib.auth.password_validation rest_framework.compat rest_framework.serializers
    django.contrib.admin.views.main django.contrib.admindocs.views django.contrib.auth.hashers
    django.contrib.sessions.backends.db django.middleware.locale rest_framework.authentication
    rest_framework.mixins allauth.core.context fido2.server gunicorn.workers.gasgi
    accounts.caps accounts.plans bsod.console.recipes bsod.console.samples bsod.lib.http
    bsod.lib.vault promos.rules proxy.catalogue proxy.gateway.exchange proxy.gateway.forms
    proxy.gateway.reading proxy.hearsay proxy.histogram proxy.listings proxy.openapi
    proxy.providers.registry proxy.references quotas.draw quotas.pricing
"""
UNREAD = ("bsod.settings", "bsod.lib.steps", "gunicorn.config")
"""What these say depends on the environment of whoever imports them."""
_LONGEST, _NUMBER = 200_000, 12  # bytes of a request; of a process id or an exit code


class Forked:
    """A running script, as far as the suite uses `subprocess.Popen`."""

    def __init__(self, pid: int, told: int) -> None:
        self.pid, self._told = pid, told
        self.returncode: int | None = None

    def poll(self, seconds: float | None = 0) -> int | None:
        if self.returncode is None:
            poller = select.poll()
            poller.register(self._told, select.POLLIN)
            if poller.poll(None if seconds is None else seconds * 1000):
                self.returncode = _number(self._told)
                os.close(self._told)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        code = self.poll(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Running = Union[Forked, "subprocess.Popen[bytes]"]


class ForkServer:
    """The process that has read it all; it ends with the run that started it, and ends what that
    has left."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plain = {k: v for k, v in self.environment.items() if k != "DJANGO_SETTINGS_MODULE"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forkserver", str(theirs.fileno())],
            cwd=ROOT, env=plain, pass_fds=[theirs.fileno()], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        atexit.register(self._end)

    def can(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork can have this environment."""
        changed = {*environment.items()} ^ {*self.environment.items()}
        return not any(name.startswith(AT_START) for name, _ in changed)

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], out: int, err: int
    ) -> Forked:
        """Run a Python script in ROOT, in a session of its own."""
        told, tells = os.pipe()
        asked = json.dumps([list(argv), dict(environment)]).encode()
        socket.send_fds(self._socket, [asked], [tells, out, err])
        os.close(tells)
        return Forked(_number(told), told)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait(10)


_lock = threading.Lock()
_servers: list[ForkServer] = []


def start(
    argv: Sequence[str], environment: Mapping[str, str], out: int = 1, err: int = 2
) -> Running:
    """A script of ours on its way, by the cheapest way that makes no difference to it."""
    with _lock:
        if not _servers:
            _servers.append(ForkServer())
    if _servers[0].can(environment):
        return _servers[0].start(argv, environment, out, err)
    return subprocess.Popen(
        [sys.executable, *argv], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        stdout=out, stderr=err, start_new_session=True,
    )  # fmt: skip


def run(argv: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """A script of ours to its end, which is a minute away at most, and what it has said."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = start(argv, environment, out.fileno(), err.fileno())
        try:
            code = process.wait(60)
        finally:
            process.kill()
        for said in (out, err):
            said.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


# ---- the other side


def _main(control: socket.socket) -> None:
    for name in READ.split():
        import_module(name)
    assert not [name for name in UNREAD if name in sys.modules]
    assert len(os.listdir("/proc/self/task")) == 1, "a fork has only the thread that forked"
    gc.freeze()
    argv = _serve(control)
    sys.argv[:], sys.path[0] = argv, str(Path(argv[0]).resolve().parent)
    runpy.run_path(argv[0], run_name="__main__")


def _serve(control: socket.socket) -> list[str]:
    """Fork whenever it is asked for; returns only in a child, with what that is to run."""
    children: dict[int, int] = {}
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([control.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _reap(children)
        if control.fileno() in ready:
            asked, (*fds,), *_ = socket.recv_fds(control, _LONGEST, 3)
            if not asked:
                _end(children)
            if not (pid := os.fork()):
                return _become(asked, fds, control)
            children[pid] = fds[0]
            _tell(fds[0], pid)
            for fd in fds[1:]:
                os.close(fd)


def _become(asked: bytes, fds: list[int], control: socket.socket) -> list[str]:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(fds[1], 1)
    os.dup2(fds[2], 2)
    control.detach()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    argv, environment = json.loads(asked)
    os.environ.clear()
    os.environ.update(environment)
    return list(argv)


def _end(children: Mapping[int, int]) -> NoReturn:
    """The run is over. One that was killed has not stopped what it started."""
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    sys.exit()


def _reap(children: dict[int, int]) -> None:
    for pid, told in list(children.items()):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            del children[pid]
            _tell(told, os.waitstatus_to_exitcode(status))
            os.close(told)


def _tell(told: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know
        os.write(told, b"%*d" % (_NUMBER, number))


def _number(told: int) -> int:
    said = os.read(told, _NUMBER)
    assert said, "the fork server is gone"
    return int(said)


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
