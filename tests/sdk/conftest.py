"""The JavaScript client, called from Python."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.sdk.house import HOUSE, install, tools

Call = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def node() -> Call:
    """Make one call with the JavaScript client."""
    install()
    program, _ = tools()

    def call(**asked: Any) -> dict[str, Any]:
        done = subprocess.run(
            [*program, "calls.mjs", json.dumps(asked)],
            cwd=HOUSE, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return call
