"""The list of `tests/faults.py`: each fault that touches keys and hosts, and what is expected."""

import email.utils
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bsod.lib import clock
from proxy.models import ProviderKey
from proxy.pool import bump
from tests.faults import Outcome
from tests.upstream import (
    Pause,
    Reply,
    Seen,
    chat,
    chat_stream,
    endless_line,
    error,
    garbage,
    hang,
    json_reply,
    redirect,
    sse,
    sse_frame,
)


@dataclass(frozen=True)
class Fault:
    name: str
    kind: str
    """Of `proxy/failures.py`; empty: it is no failure of an attempt."""
    answer: Reply | Callable[[Seen], Reply] | None
    """What the failing key is answered; None: it cannot even be asked."""
    expected: Outcome
    stream: bool = False
    keys: int = 1
    """Keys that fail like that, where there is nobody else."""
    calls: int = 1
    """Calls one after another, each of somebody new; what came of the last one is told."""
    host: str = ""
    """`gone`: the provider does not listen; a kind of `TlsHosts`; or a base URL."""
    spoil: Callable[[ProviderKey], None] = lambda key: None


def _damaged(key: ProviderKey) -> None:
    ProviderKey.objects.filter(pk=key.pk).update(sealed="damaged")
    bump()


def _in_half_a_minute(_: Seen) -> Reply:
    until = clock.now() + timedelta(seconds=31)
    return error(429, retry_after=email.utils.format_datetime(until, usegmt=True))


def _google(text: str, quota: str) -> Reply:
    """A limit as Gemini tells it, through any adapter."""
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": quota}],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"},
    ]
    value = {"code": 429, "message": text, "status": "RESOURCE_EXHAUSTED", "details": details}
    return json_reply([{"error": value}], 429)


_BILLING_TEXT = "You exceeded your current quota, please check your plan and billing details."
_SAVED = "200 at attempt 2"
_FREE = "released 0, upstream_error"
_FAILED = "1 in a row"
_FIRST = {"role": "assistant", "content": "Hel"}
_PART: dict[str, Any] = {
    "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": _FIRST, "finish_reason": None}],
}  # fmt: skip
_BEGUN = sse_frame(_PART)


def _limited(name: str, answer: Any, seconds: int, kind: str = "minute limit") -> Fault:
    pool = f"key and model rests, rate_limit, {seconds} s"
    told = f"429 upstream_rate_limited, again in {seconds} s"
    return Fault(name, kind, answer, Outcome(told, 1, pool, _FREE, _SAVED))


def _refused(name: str, answer: Reply, reason: str) -> Fault:
    told = "503 upstream_unavailable, again in 60 s"
    pool = f"key rests, {reason}, probe in 60 s"
    return Fault(name, reason, answer, Outcome(told, 1, pool, _FREE, _SAVED))


def _failed(
    name: str, kind: str, answer: Reply, code: str = "upstream_error", *, stream: bool = False
) -> Fault:
    return Fault(
        name, kind, answer,
        Outcome(f"502 {code}, again in 1 s", 1, _FAILED, _FREE, _SAVED), stream,
    )  # fmt: skip


def _passed_on(name: str, answer: Reply, told: str) -> Fault:
    return Fault(name, "client", answer, Outcome(told, 1, "nothing", _FREE, f"{told} at attempt 1"))


def _unreached(name: str, host: str) -> Fault:
    told = "503 upstream_unavailable, again in 1 s"
    pool = "provider: 1 in a row"
    return Fault(name, "network", chat(), Outcome(told, 1, pool, _FREE, _SAVED), host=host)


def _broken(name: str, kind: str, answer: Reply, code: str, end: str = "upstream_error") -> Fault:
    """It begins, and cannot be begun again elsewhere."""
    told = f"200, then {code}"
    paid = f"settled what came, {end}"
    return Fault(
        name, kind, answer, Outcome(told, 1, _FAILED, paid, f"{told} at attempt 1"), stream=True
    )


FAULTS = (
    _unreached("connect refused", "gone"),
    Fault("connect refused, five in a row", "network", chat(),
          Outcome("503 upstream_unavailable, again in 5 s", 0,
                  "provider rests, unreachable, probe in 5 s", _FREE, _SAVED),
          host="gone", calls=6),
    _unreached("no such name", "http://no-such-host.invalid/v1"),
    _unreached("TLS, an expired certificate", "expired"),
    _unreached("TLS, another name's certificate", "wrong name"),
    Fault("TLS that holds", "", chat(),
          Outcome("200", 1, "nothing", "settled what came, completed", "200 at attempt 1"),
          host="good"),
    _limited("429, Retry-After in seconds", error(429, retry_after=7), 7),
    _limited("429, Retry-After as a date", _in_half_a_minute, 31),
    _limited("429, retry-after-ms", error(429, headers=[("retry-after-ms", "8600")]), 9),
    _limited("429, RetryInfo, text of billing", _google(_BILLING_TEXT, "PerMinute"), 35),
    _limited("429, in words", error(429, "Rate limit reached on tokens per minute. Please try "
                                    "again in 9m38s. More: host.com/billing"), 578),
    _limited("429 without a time", error(429), 5),
    _limited("429, an hour", error(429, retry_after=3600), 600),
    _limited("429, a day's quota", error(429, "Limit of requests per day (RPD)"), 600, "day limit"),
    _refused("429, insufficient_quota", error(429, _BILLING_TEXT, code="insufficient_quota"),
             "billing"),
    _refused("402", error(402, "pay"), "billing"),
    _refused("403, region", error(403, "Country not supported"), "billing"),
    _refused("401", error(401, "Incorrect API key"), "auth"),
    Fault("401 of three keys within a minute, and a fourth", "auth", error(401, "no"),
          Outcome("503 upstream_unavailable, again in 60 s", 1,
                  "3 × key rests, auth, probe in 60 s; 1 in a row", _FREE, _SAVED),
          keys=4, calls=2),
    _passed_on("400", error(400, "Bad top_k", code="bad_value"), "400 bad_value"),
    _passed_on("404", error(404, "No such model"), "404 model_not_found"),
    _passed_on("403, a flagged prompt", error(403, "Your input was flagged", code="flagged"),
               "403 flagged"),
    *(_failed(str(status), "overloaded", error(status, "boom"))
      for status in (500, 502, 503, 529, 408)),
    Fault("500, five in a row, the last live key", "overloaded", error(500),
          Outcome("502 upstream_error, again in 1 s", 1, "5 in a row", _FREE, _SAVED), calls=5),
    Fault("500, five in a row, two keys", "overloaded", error(500),
          Outcome("502 upstream_error, again in 1 s", 2,
                  "key rests, failures, probe in 5 s; 5 in a row", _FREE, _SAVED),
          keys=2, calls=5),
    _failed("redirect", "redirect", redirect("http://elsewhere.example/v1")),
    Fault("hang before the headers, a stream", "silent", hang(),
          Outcome("504 upstream_timeout", 1, _FAILED, "released 0, timeout", _SAVED), stream=True),
    Fault("hang before the headers, not streamed", "silent", hang(),
          Outcome("504 upstream_timeout", 1, _FAILED, "released 0, timeout",
                  "504 upstream_timeout at attempt 1")),
    _broken("hang in the middle of a stream", "silent", sse(_BEGUN, done=False).hang(),
            "upstream_timeout", "timeout"),
    _failed("reset before the head", "cut", chat().cut(head=0), "upstream_truncated"),
    _failed("reset in the body", "cut", chat().cut(body=20), "upstream_truncated"),
    _failed("reset before the first event", "cut", chat_stream().cut(body=0),
            "upstream_truncated", stream=True),
    _broken("reset in the middle of a stream", "cut", sse(_BEGUN, Pause(0.1), done=False).cut(),
            "upstream_truncated"),
    _broken("a stream without its end", "cut", sse(_BEGUN, done=False), "upstream_truncated"),
    _failed("no HTTP", "malformed", garbage(), "upstream_truncated"),
    _failed("no JSON", "malformed", json_reply(b'{"choices": [')),
    _failed("an error in a 200", "malformed", json_reply({"error": {"message": "overloaded"}})),
    _failed("the first event is no JSON", "malformed", sse(b"data: {nope\n\n"), stream=True),
    _broken("three events that are no JSON", "malformed",
            sse(_BEGUN, Pause(0.1), *[b"data: {nope\n\n"] * 3, _BEGUN), "upstream_error"),
    _failed("a line of 33 MB", "too large", endless_line(33 << 20), "upstream_too_large",
            stream=True),
    _failed("an empty 200", "empty 200", json_reply(b"")),
    _failed("a stream without an event", "empty 200", sse(done=False), "upstream_truncated",
            stream=True),
    Fault("a key that no vault key opens", "", None,
          Outcome("503 no_upstream, again in 60 s", 0, "nothing", _FREE, "200 at attempt 1"),
          spoil=_damaged),
)  # fmt: skip
