"""A launcher in a test's hands: what it says, what it runs, and a clean end for all of it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import requests

from tests import kit

ROOT = Path(__file__).resolve().parents[2]
SECRETS = re.compile(r"admin / (\S+)\n  API key   (\S+)\n")


class Run:
    """A launcher on a port of its own, and every word it and its children say."""

    def __init__(self, data_dir: Path, **given: str) -> None:
        names = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")
        plain = {name: os.environ[name] for name in names if name in os.environ}
        port = given.get("PORT") or str(kit.free_port())
        self.data_dir, self.url = data_dir, f"http://127.0.0.1:{port}"
        environment = {
            **plain,
            "DATA_DIR": str(data_dir),
            "PORT": port,
            "WEB_CONCURRENCY": "1",
            "LOCAL_MODEL": "off",
            "DRAIN_SECONDS": "1",
            "WARM_UP": "off",  # seconds of a processor at each start; `first` has it on
            # A proxy that is not there, as a company's may be: nothing on loopback asks it.
            "http_proxy": "http://127.0.0.1:9",
            **given,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bsod.launch"], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def says(self, text: str, seconds: float = 60) -> "Run":
        found = kit.eventually(
            lambda: text in self.output or self.process.poll() is not None, seconds, 0.05
        )
        assert found, f"{text!r} never came:\n{self.output}"
        assert text in self.output, f"it ended without saying {text!r}:\n{self.output}"
        return self

    def serves(self) -> "Run":
        return self.says("Ctrl-C stops everything.")

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(10)
        return code

    def ends(self) -> tuple[int, str]:
        code = self.process.wait(60)
        self._reader.join(10)
        return code, self.output

    def secrets(self) -> tuple[str, str]:
        found = SECRETS.search(self.output)
        assert found, self.output
        return found.group(1), found.group(2)

    def running(self) -> dict[int, str]:
        """Every process that was started on this DATA_DIR: id and command line."""
        mark, found = f"DATA_DIR={self.data_dir}\0".encode(), {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes():
                    command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(path.name)] = command
            except OSError:
                continue
        # A process that has ended and waits for its parent has no command line any more.
        return {pid: command for pid, command in found.items() if command}

    def pid(self, words: str) -> int:
        """The oldest process whose command line has these words; 0: there is none."""
        return min((pid for pid, line in self.running().items() if words in line), default=0)

    def gone(self, seconds: float = 10) -> bool:
        return bool(kit.eventually(lambda: not self.running(), seconds, 0.1))

    def models(self, key: str) -> list[str]:
        answer = self.get("/v1/models", key)
        assert answer.status_code == 200, answer.text
        return [model["id"] for model in answer.json()["data"]]

    def get(self, path: str, key: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return requests.get(self.url + path, headers=headers, timeout=20)

    def chat(self, key: str, model: str) -> requests.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
        return requests.post(
            f"{self.url}/v1/chat/completions", json=body, timeout=60,
            headers={"Authorization": f"Bearer {key}"},
        )  # fmt: skip


def put_away(run: Run) -> None:
    if run.process.poll() is None:
        run.process.kill()
        run.process.wait(10)
    for pid in run.running():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.ends()
    assert run.process.stdout is not None
    run.process.stdout.close()


def shell(command: str) -> str:
    """What a pasted command prints. Without curl the same request goes out from here."""
    if shutil.which("curl"):
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=100, check=True
        )
        return done.stdout
    url = re.search(r"https?://\S+", command)
    body = re.search(r"-d '(.*)'", command)
    assert url
    assert body
    headers = dict(pair.split(": ", 1) for pair in re.findall(r'-H "([^"]+)"', command))
    answer = requests.post(
        url.group(), data=body.group(1).encode(), headers=headers, timeout=100, stream=True
    )
    answer.encoding = "utf-8"
    return answer.text
