"""Processes of a run: started in their own groups, pinned, accounted for, and always stopped.

Whatever happens (a failed assertion, Ctrl-C, SIGTERM), ``Supervisor`` ends every process group it
started; and each child is told by the kernel to end with its parent, should that be killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 15
PR_SET_PDEATHSIG = 1
Command = Sequence[str | Path]
LIBC = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """A server did not come up; the message says which, and ends with its last words."""


@dataclass(frozen=True)
class Process:
    """A started server: its name, its process group's leader, and where its output goes."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The id of the process and of its group."""
        return self.popen.pid

    def dead(self) -> bool:
        """Whether it has exited; it is left unreaped, see ``wait_unreaped``."""
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return bool(os.waitid(os.P_PID, self.pid, flags))

    def how_it_ended(self) -> str:
        """Its exit code (minus the signal that killed it) and its last words."""
        return f"exit {self.popen.wait(1)}; its last words:\n{self.last_words()}"

    def last_words(self, lines: int = 15) -> str:
        """The end of its output."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def clean_env(home: Path, **more: str) -> dict[str, str]:
    """An environment with nothing of the caller's but PATH and the language.

    A provider's key or a proxy in the caller's environment would send traffic off this machine.
    """
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {**kept, "HOME": str(home), "TMPDIR": str(home), "NO_PROXY": "127.0.0.1", **more}


def cores() -> tuple[int, int]:
    """(the core of mock and load, the core of what is measured); equal on a one-core machine."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[min(1, len(usable) - 1)]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def become_child(core: int | None) -> None:
    """Runs in the child before exec: pin it (as taskset does), raise its limit of open files."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_unreaped(process: Process, seconds: float) -> None:
    """Wait for an exit but leave the zombie: while it is there its group's id is not reused."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not process.dead():
        time.sleep(0.05)


class Supervisor:
    """Starts servers and stops all of them at the end of its ``with`` block."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: list[Process] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        old = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C leaves no orphans
        try:
            for process in reversed(list(self.running)):
                self.stop(process)
        finally:
            signal.signal(signal.SIGINT, old)

    def start(
        self,
        name: str,
        command: Command,
        core: int,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> Process:
        """Start a server, pinned to ``core``."""
        log = self.logs / f"{name}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=lambda: become_child(core),
            )
        process = Process(name, popen, log)
        self.running.append(process)
        return process

    def stop(self, process: Process) -> None:
        """SIGTERM to the leader, which knows its children best; then SIGKILL to what is left."""
        if process in self.running:
            self.running.remove(process)
        if process.popen.returncode is None:
            os.kill(process.pid, signal.SIGTERM)
            wait_unreaped(process, STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.popen.wait(STOP_SECONDS)


def run_quietly(
    command: Command,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    core: int | None = None,
) -> str:
    """Run to the end and return the output; a failure's message carries the last lines of it.

    The whole process group dies at ``timeout`` (seconds) or when we are interrupted.
    """
    words = [str(part) for part in command]
    popen = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=cwd,
        env=env,
        preexec_fn=lambda: become_child(core),
    )
    try:
        out, err = popen.communicate(timeout=timeout)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.communicate()
        raise
    if popen.returncode:
        tail = "\n".join((out + err).splitlines()[-15:])
        raise StartError(f"{' '.join(words[:4])} … ended with {popen.returncode}:\n{tail}")
    return out


def wait_http(process: Process, port: int, path: str, seconds: float) -> None:
    """Wait until GET ``path`` answers 200."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.dead():
            break
        with contextlib.suppress(OSError, urllib.error.URLError):
            url = f"http://127.0.0.1:{port}{path}"
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.1)
    ended = process.how_it_ended() if process.dead() else f"but runs:\n{process.last_words()}"
    raise StartError(f"{process.name} did not answer {path}, {ended}")


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from ``state`` on; empty when the process is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def members(leader: int) -> Iterator[int]:
    """The processes that stem from one that ``Supervisor.start`` started, that one first."""
    yield leader
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != leader:
            fields = stat_fields(int(entry.name))
            if fields and int(fields[3]) == leader:
                yield int(entry.name)


def cpu_us(pid: int) -> int:
    """CPU time of a started server so far, in µs, dead children included; 10 ms steps."""
    total = 0
    for member in members(pid):
        fields = stat_fields(member)
        total += sum(int(ticks) for ticks in fields[11:15])
    return total * TICK_US


def pss_mb(pid: int) -> float:
    """Proportional set size of one process, in MB of 10^6 bytes; 0 when it cannot be read."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
