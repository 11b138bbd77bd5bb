"""The header `Idempotency-Key`: which requests are one request, and what a second one is told.

A scope is a key of ours, a method, a route and the header's value; a request is the same when its
parsed body, its ids and its query are. Both are kept as hashes under a key of the server: what
somebody has asked cannot be guessed from them. Values in, values out.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

import orjson
from django.conf import settings

from bsod.lib.multipart import Form
from bsod.lib.terms import OutcomeState, Shape
from proxy.errors import ApiError, Code, invalid
from proxy.gateway.head import Head
from proxy.gateway.journey import Call, Mark
from proxy.route import IDEMPOTENCY_KEY as HEADER
from quotas.outcomes import Known

_VALUE = re.compile(rb"[\x20-\x7e]{1,255}")
# Asking again for one of these makes nothing twice but an answer.
_REPEATABLE = {
    Shape.CHAT, Shape.COMPLETION, Shape.RESPONSE, Shape.COMPACTION, Shape.EMBEDDING,
    Shape.MODERATION, Shape.TRANSCRIPTION,
}  # fmt: skip


def mark_of(head: Head, call: Call) -> Mark | None:
    """The mark of a request whose body has not been read; None: it has no such header, or costs
    nothing. ApiError 400."""
    value, route = head.idempotency, call.route
    if value is None or not route.spends:
        return None
    if not _VALUE.fullmatch(value):
        raise invalid(HEADER, f"The header {HEADER} must be 1 to 255 printable ASCII characters.")
    place = (call.caller.token.public_id, route.method, route.path, value.decode())
    return Mark(_keyed("\0".join(place).encode()), _keyed(*_target(call)))


def of_json(call: Call, body: Mapping[str, Any]) -> Mark | None:
    """The same with its body, in which nothing has been folded yet."""
    if call.idempotency is None:
        return None
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return Mark(call.idempotency.scope, _keyed(*_target(call), text))


def of_form(call: Call, form: Form) -> Mark | None:
    """The same with a form: its parts, whatever stands between them. Parts of different names may
    change places, as with clients that keep them in no order."""
    if call.idempotency is None:
        return None
    parts = []
    for part in form.parts:
        digest = hashlib.sha256()
        for piece in form.chunks(part):
            digest.update(piece)
        parts.append((part.name, part.filename, part.content_type, digest.hexdigest()))
    parts.sort(key=itemgetter(0))
    return Mark(call.idempotency.scope, _keyed(*_target(call), orjson.dumps(parts)))


def _target(call: Call) -> tuple[bytes, bytes]:
    return call.path.encode() + b"\0", call.query.encode() + b"\0"


def _keyed(*pieces: bytes) -> str:
    digest = hmac.new(_key(settings.SECRET_KEY), digestmod="sha256")
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


@cache
def _key(secret_key: str) -> bytes:
    return hashlib.sha256(b"idempotency:" + secret_key.encode()).digest()


def once(call: Call) -> bool:
    """Whether what a call makes must never be made twice: not by another try, not after a crash
    (SPEC §5)."""
    return call.route.method == "POST" and call.route.shape not in _REPEATABLE


def judge(known: Known | None, mark: Mark, now: datetime) -> Known | None:
    """The first request whose answer is to be given again; None: this is a first one. ApiError
    409."""
    if known is None or known.expires_at <= now or (known.undone and not known.once):
        return None
    if known.fingerprint != mark.fingerprint:
        raise _conflict(
            Code.IDEMPOTENCY_MISMATCH,
            f"This {HEADER} was used with another request. Use a new one for each request.",
            known.entry,
        )
    if known.running:
        raise ApiError(
            Code.IDEMPOTENCY_RUNNING,
            f"The first request with this {HEADER} still runs. Ask again for its answer.",
            retry_after=1,
            extra={"request_id": known.entry},
        )
    if known.state == OutcomeState.TOO_LARGE:
        raise _conflict(
            Code.IDEMPOTENCY_RESULT_TOO_LARGE,
            f"The first answer to this {HEADER} was too large to be kept. It was charged; to ask "
            "anew use a new one.",
            known.entry,
        )
    if known.state != OutcomeState.KEPT:
        raise unknown(known.entry)
    return known


def unknown(entry: str) -> ApiError:
    """The first request may have done all it was to do, and there is no answer to give."""
    return _conflict(
        Code.IDEMPOTENCY_UNKNOWN,
        f"The first request with this {HEADER} left no whole answer, and what it has begun is not "
        "begun twice. See what it has made, or use a new one to ask anew.",
        entry,
    )


def _conflict(code: Code, message: str, entry: str) -> ApiError:
    """A 409 that does not pass by itself."""
    return ApiError(code, message, should_retry=False, extra={"request_id": entry})
