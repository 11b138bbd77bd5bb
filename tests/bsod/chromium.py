"""A real browser in a test's hands: Chromium, spoken to over a pipe in its own protocol.

It is taken from PATH, else installed by apt; where neither is possible the test fails and says
so. It resolves no name at all, so that a page which asks a foreign host shows it.
"""

import base64
import contextlib
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    # Each process it does not start is a sixth of a test's work less.
    "--renderer-process-limit=1", "--disable-software-rasterizer", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--hide-scrollbars", "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip
PATIENCE = 30.0


def program() -> str:
    """Where Chromium is; installs it where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
        subprocess.run(install, check=True, capture_output=True)
        found = shutil.which("chromium")
    assert found, "The browser tests need Chromium: install it so that `chromium` is on PATH."
    return found


class Page:
    """One tab. `problems` is what its console has said of errors, `asked` what it has fetched."""

    def __init__(self, chromium: "Chromium", session: str) -> None:
        self.chromium, self.session = chromium, session
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.loaded = False

    def watch(self) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        return self.chromium.do(method, self.session, **params)

    def shape(self, width: int, height: int, scheme: str = "light") -> None:
        """The window, and the colours its owner prefers."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height,
                deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.do("Emulation.setEmulatedMedia", features=[feature])

    def scripts(self, on: bool) -> None:
        self.do("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, url: str) -> None:
        self.loaded = False
        failed = self.do("Page.navigate", url=url).get("errorText")
        assert not failed, f"{url}: {failed}"
        self.chromium.until(lambda: self.loaded)

    def submit(self) -> None:
        """Press Enter, and wait for the page that comes."""
        self.loaded = False
        self.press("Enter")
        self.chromium.until(lambda: self.loaded)

    def js(self, expression: str) -> Any:
        """The value of an expression on the page."""
        answer = self.do(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def type(self, text: str) -> None:
        self.do("Input.insertText", text=text)

    def press(self, key: str) -> None:
        code = {"Tab": 9, "Enter": 13, "Escape": 27}.get(key, ord(key[0]))
        # A named key writes nothing, but for the end of a line.
        written = "\r" if key == "Enter" else key if len(key) == 1 else ""
        text = {"text": written} if written else {}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.do(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more
            )

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot")["data"]))

    def happened(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(json.dumps(params["args"]))


class Chromium:
    """A running browser: commands go out, answers and events come in, each ended by a NUL."""

    def __init__(self, commands: int, events: int) -> None:
        self._commands, self._events = commands, events
        self._number, self._rest = 0, b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}
        self._ready = selectors.DefaultSelector()
        self._ready.register(events, selectors.EVENT_READ)

    def page(self, *, apart: bool = False) -> Page:
        """A new tab; `apart`: of somebody else, with cookies of his own."""
        own = self.do("Target.createBrowserContext") if apart else {}
        target = self.do("Target.createTarget", url="about:blank", **own)["targetId"]
        session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        # Known before its first event comes.
        self._pages[session] = page = Page(self, session)
        page.watch()
        return page

    def do(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        said = {"id": number, "method": method, "params": params}
        os.write(self._commands, json.dumps(said | _tab(session)).encode() + b"\0")
        self.until(lambda: number in self._answers)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def until(self, done: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert self._ready.select(deadline - time.monotonic()), "Chromium does not answer"
            data = os.read(self._events, 1_000_000)
            assert data, "Chromium has ended"
            *whole, self._rest = (self._rest + data).split(b"\0")
            for message in map(json.loads, whole):
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        elif page := self._pages.get(message.get("sessionId", "")):
            page.happened(message["method"], message["params"])


def _tab(session: str) -> dict[str, str]:
    return {"sessionId": session} if session else {}


@contextlib.contextmanager
def browser() -> Iterator[Chromium]:
    """Start one with a profile of its own; it is gone after the block."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # It reads 3 and writes 4; the shell puts them there, from numbers that are neither.
    given = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
    with tempfile.TemporaryDirectory(prefix="bsod-chromium-", ignore_cleanup_errors=True) as folder:
        script = f'exec "$@" 3<&{given[0]} 4>&{given[1]}'
        command = [program(), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command], pass_fds=given,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        for end in (theirs_in, theirs_out, *given):
            os.close(end)
        chromium = Chromium(ours_out, ours_in)
        try:
            yield chromium
        finally:
            with contextlib.suppress(OSError, AssertionError):
                chromium.do("Browser.close")
            process.kill()
            process.wait(10)
            os.close(ours_out)
            os.close(ours_in)
