"""How a log line is written: for people, or with `LOG_FORMAT=json` as an object a line.

Whatever a record says, its message, its traceback and its fields, goes through one redaction
before it is written. Fields come as `extra={"fields": {...}}`; nothing else of a record gets out.
"""

import logging
import re
from datetime import UTC, datetime
from typing import Any

import orjson

from bsod.lib import redaction

# Ends of lines for some readers, which JSON lets stand as they are.
_ENDS = re.compile("[\x7f\x85\u2028\u2029]")
_LINES = re.compile(r"[\r\n\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]+")


class Line(logging.Formatter):
    """`2026-11-22 06:00:00,123 WARNING bsod.access: call route=... status=...`"""

    def __init__(self, prefixes: tuple[str, ...] = ()) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._keys = redaction.pattern(prefixes)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        # A message must not begin a line of its own, and so look like another's.
        line = _LINES.sub(" ", super().formatMessage(record))
        return " ".join([line, *(f"{name}={value}" for name, value in fields(record).items())])

    def format(self, record: logging.LogRecord) -> str:
        return redaction.redact(super().format(record), self._keys)


class Json(logging.Formatter):
    """One object a line: `ts`, `level`, `logger`, `event`, the record's fields, `error`."""

    def __init__(self, prefixes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._keys = redaction.pattern(prefixes)

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": self._clean(record.getMessage()),
        }
        given = fields(record).items()
        said |= {name: self._clean(value) for name, value in given if name not in said}
        if record.exc_info:
            said["error"] = self._clean(self.formatException(record.exc_info))
        line = orjson.dumps(said, default=str).decode()
        return _ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", line)

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        text = str(value).encode("utf-8", "replace").decode()
        return redaction.redact(text, self._keys)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, "fields", None)
    return found if isinstance(found, dict) else {}


def settings_of(level: str, form: str, prefixes: list[str]) -> dict[str, Any]:
    """Django's LOGGING: everything to stderr, in one form."""
    formatter = {"text": "bsod.logs.Line", "json": "bsod.logs.Json"}[form]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter, "prefixes": tuple(prefixes)}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {"django.security.DisallowedHost": {"handlers": [], "propagate": False}},
    }
