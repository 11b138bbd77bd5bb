"""The input of a batch, read once as it comes: every line checked, all lines added up. No I/O.

A batch's lines never pass through the gateway as calls: the provider reads them from the file. So
each is looked at as a call's body would be (strict JSON, limits, model, what it refers to), and
whatever would be taken out of a body, or change its price unseen, is refused here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import ApiError, Code, invalid
from proxy.gateway import reading
from proxy.gateway.call import DROPPED
from proxy.gateway.strict import strict
from proxy.references import Reference, TooMany, references
from proxy.route import Route
from proxy.routes import ROUTES
from quotas.pricing import UNASKED_OUTPUT

MOST_LINES = 50_000
MOST_BYTES = 200_000_000
MOST_LINE = 32_000_000
MOST_REFERENCES = 10_000
_MOST_ID = 512
_FILE = "input_file_id"
_PATHS = (
    "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings",
    "/v1/moderations",
)  # fmt: skip
ENDPOINTS: dict[str, Route] = {
    route.path: route for route in ROUTES if route.method == "POST" and route.path in _PATHS
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a whole file asks for. Tokens are estimates; `output` sums each line's own limit for
    each of its choices."""

    endpoint: str
    model: str
    lines: int
    prompt: int
    output: int
    fast: bool
    """A line asks for fast mode: then the batch is reserved as if all did."""
    refs: Sequence[Reference]
    """Each object that lines name, once."""


@dataclass(slots=True)
class _Sums:
    lines: int = 0
    prompt: int = 0
    output: int = 0
    fast: bool = False
    model: str | None = None
    ids: set[str] = field(default_factory=set)
    refs: dict[str, Reference] = field(default_factory=dict)


class BatchLines:
    """Feed it the file in pieces of any size, then ask for the plan. ApiError names the line."""

    def __init__(self, endpoint: Any) -> None:
        route = ENDPOINTS.get(endpoint) if isinstance(endpoint, str) else None
        if route is None:
            raise invalid("endpoint", f"'endpoint' must be one of {', '.join(_PATHS)}.")
        self._route = route
        self._sums = _Sums()
        self._begun: list[bytes] = []
        self._waiting = self._size = 0
        """Bytes of the line that has begun, and of all."""
        self._number = 1

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MOST_BYTES:
            raise invalid(_FILE, f"The file is larger than {MOST_BYTES} bytes.")
        *ended, begun = data.split(b"\n")
        for part in ended:
            self._begin(part)
            self._end()
        self._begin(begun)

    def finish(self) -> Plan:
        """What the whole file asks for."""
        self._end()
        sums = self._sums
        if not sums.lines:
            raise invalid(_FILE, "The file has no lines.")
        return Plan(
            self._route.path, sums.model or "", sums.lines, sums.prompt, sums.output, sums.fast,
            tuple(sums.refs.values()),
        )  # fmt: skip

    def _begin(self, part: bytes) -> None:
        if part:
            self._waiting += len(part)
            if self._waiting > MOST_LINE:
                raise _wrong(self._number, f"it is longer than {MOST_LINE} bytes.")
            self._begun.append(part)

    def _end(self) -> None:
        line = b"".join(self._begun)
        self._begun.clear()
        self._waiting = 0
        if line.strip():
            try:
                self._read(line)
            except ApiError as error:
                raise _wrong(self._number, error.message) from None
        self._number += 1

    def _read(self, line: bytes) -> None:
        sums = self._sums
        sums.lines += 1
        if sums.lines > MOST_LINES:
            raise invalid(_FILE, f"a batch has at most {MOST_LINES} lines.")
        body = self._body(strict(line))
        self._refer(body)
        read = reading.read(self._route, body)
        if read["zero"]:
            raise invalid(read["zero"], f"'{read['zero']}' must be a whole number of at least 1.")
        self._same_model(read["model"] or self._route.default_model)
        limit = read.get("limit")
        sums.prompt += read.get("prompt", 0)
        sums.output += (UNASKED_OUTPUT if limit is None else limit) * read.get("choices", 1)
        sums.fast = sums.fast or read.get("fast", False)

    def _body(self, line: Any) -> dict[str, Any]:
        """The body of a line that is addressed as the batch is."""
        if not isinstance(line, dict):
            raise invalid(_FILE, "it must be a JSON object.")
        custom, body = line.get("custom_id"), line.get("body")
        if not isinstance(custom, str) or not 0 < len(custom) <= _MOST_ID:
            raise invalid(_FILE, f"'custom_id' must be a text of 1 to {_MOST_ID} characters.")
        if custom in self._sums.ids:
            raise invalid(_FILE, f"the custom_id {custom[:64]!r} appears twice.")
        self._sums.ids.add(custom)
        if line.get("method") != "POST":
            raise invalid(_FILE, "'method' must be 'POST'.")
        if line.get("url") != self._route.path:
            raise invalid(_FILE, f"'url' must be the batch's endpoint, '{self._route.path}'.")
        if not isinstance(body, dict):
            raise invalid(_FILE, "'body' must be a JSON object.")
        odd = [name for name in DROPPED if name in body]
        odd += [name for name in ("stream", "background") if body.get(name)]
        if odd:
            raise invalid(_FILE, f"'{odd[0]}' cannot be used in a batch.")
        return body

    def _same_model(self, model: str) -> None:
        if not model:
            raise invalid(_FILE, "'model' must be the id of a model; see GET /v1/models.")
        if self._sums.model not in (None, model):
            raise invalid(_FILE, "'model' must be the same in all lines.")
        self._sums.model = model

    def _refer(self, body: dict[str, Any]) -> None:
        refs = self._sums.refs
        try:
            for found in references(body):
                refs.setdefault(found.id, found)
        except TooMany as many:
            raise invalid(_FILE, str(many)) from None
        if len(refs) > MOST_REFERENCES:
            raise invalid(_FILE, f"a batch names at most {MOST_REFERENCES} objects.")


def _wrong(number: int, message: str) -> ApiError:
    return ApiError(Code.INVALID_VALUE, f"Line {number} of the file: {message}", param=_FILE)
