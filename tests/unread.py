"""What a run of the whole suite need not even read: a plugin, `-p tests.unread`.

Reading a test file costs more than many a test in it: pytest writes its assertions anew. Which
tests run is decided by their marks alone (`conftest.py`); left unread is only a file none of
whose tests could be chosen, because of what its `pytestmark` says.
"""

import os
import re
from pathlib import Path

import pytest

_WHOLLY_ONCE = re.compile(r"^pytestmark = \[?pytest\.mark\.once\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not whole or not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    chosen = config.getoption("markexpr")
    if chosen == "once":
        return True if "mark.once" not in text else None
    if chosen == "not once" or os.environ.get("DATABASE_URL"):
        return True if _WHOLLY_ONCE.search(text) else None
    return None
