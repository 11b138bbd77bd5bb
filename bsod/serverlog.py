"""gunicorn's own lines, written as all others are: in one form, and redacted."""

import logging
from typing import Any

from gunicorn.glogging import Logger

from bsod import logs, settings


class ServerLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    def _set_handler(self, log: Any, output: Any, fmt: Any, stream: Any = None) -> None:
        super()._set_handler(log, output, formatter(), stream)


def formatter() -> logging.Formatter:
    form = logs.Json if settings.LOG_FORMAT == "json" else logs.Line
    return form(tuple(settings.KEY_PREFIXES))
