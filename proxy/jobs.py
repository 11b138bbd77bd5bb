"""What ends later: how long it may take, when it is looked at, and what its end says. Pure.

A video, a run, a batch and their like are begun by a call whose entry stays open until the
provider shows the thing in a final state. `ending` reads that state. What it does not know goes on:
the entry then closes when its time is over. A count that cannot be true is no statement.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bsod.lib.terms import EndReason, ObjectKind, UsageSource
from proxy.providers.reading import counts

LIFETIME: dict[ObjectKind, timedelta] = {
    ObjectKind.VIDEO: timedelta(hours=2),
    ObjectKind.RUN: timedelta(hours=1),
    ObjectKind.RESPONSE: timedelta(hours=24),
    ObjectKind.BATCH: timedelta(hours=26),
    ObjectKind.FINE_TUNING_JOB: timedelta(days=8),
    ObjectKind.UPLOAD: timedelta(hours=1),
}


class Poll(NamedTuple):
    """Seconds before the first look, and the most between two."""

    first: float
    most: float


# An upload is not here: no provider can be asked for one.
POLL: dict[ObjectKind, Poll] = {
    ObjectKind.VIDEO: Poll(10, 30),
    ObjectKind.RUN: Poll(5, 30),
    ObjectKind.RESPONSE: Poll(5, 60),
    ObjectKind.BATCH: Poll(60, 300),
    ObjectKind.FINE_TUNING_JOB: Poll(60, 300),
}
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_GROWS = 1.3  # how much longer each pause is than the one before
_UNREACHABLE = Poll(5, 300)
_DETAILS = ("input_tokens_details", "prompt_tokens_details", "prompt_token_details")


@dataclass(frozen=True, slots=True)
class Ending:
    """How something ended, and what is due for it.

    `due` without tokens: the call's fixed price, or what was reserved for it. `needs`: the usage
    is in this file alone.
    """

    due: bool
    prompt: int | None
    completion: int | None
    cached: int
    source: UsageSource | None
    tier: str | None
    end_reason: EndReason
    needs: str | None = None


def first_look(kind: ObjectKind, now: datetime) -> datetime:
    """When what has just begun is looked at for the first time."""
    poll = POLL.get(kind)
    return now + (timedelta(seconds=poll.first) if poll else LIFETIME[kind])


def next_look(kind: ObjectKind, looks: int, now: datetime, *, failed: bool = False) -> datetime:
    """When it is looked at again after so many looks; `failed`: the last one saw nothing."""
    poll = POLL.get(kind)
    if poll is None:
        return now + LIFETIME[kind]
    first, most = _UNREACHABLE if failed else poll
    grown = first * (2.0 if failed else _GROWS) ** min(looks, 30)
    return now + timedelta(seconds=min(grown, most))


def nothing(reason: EndReason = EndReason.UPSTREAM_ERROR) -> Ending:
    """An end for which nothing is due."""
    return Ending(False, None, None, 0, None, None, reason)


def whole(reason: EndReason = EndReason.COMPLETED) -> Ending:
    """A good end that states no tokens."""
    return Ending(True, None, None, 0, UsageSource.ESTIMATED, None, reason)


def there() -> Ending:
    """The end of a thing that has been made: it was shown, or its content sent."""
    return Ending(True, None, None, 0, UsageSource.UPSTREAM, None, EndReason.COMPLETED)


def ending(kind: ObjectKind, payload: Any) -> Ending | None:
    """How the provider's object says that it ended; None: it goes on."""
    if not isinstance(payload, Mapping):
        return None
    status, read = payload.get("status"), _READERS.get(kind)
    if read is None or not isinstance(status, str) or status not in _REASONS:
        return None
    return read(payload, status, _REASONS[status])


# A run that waits for its tools, and a job that is paused, have not ended.
_REASONS = {
    "completed": EndReason.COMPLETED,
    "succeeded": EndReason.COMPLETED,
    "incomplete": EndReason.COMPLETED,
    "failed": EndReason.UPSTREAM_ERROR,
    "cancelled": EndReason.CLIENT_GONE,
    "expired": EndReason.TIMEOUT,
}


def _thing(payload: Mapping[str, Any], status: str, reason: EndReason) -> Ending:
    """A video or an upload: it is there, or it is not."""
    return there() if reason is EndReason.COMPLETED else nothing(reason)


def _text(payload: Mapping[str, Any], status: str, reason: EndReason) -> Ending:
    """A run or a response: charged for what it used, however it ended."""
    tier = payload.get("service_tier")
    return _used(payload.get("usage"), reason, tier if isinstance(tier, str) else None)


def _batch(payload: Mapping[str, Any], status: str, reason: EndReason) -> Ending:
    if status == "failed":
        return nothing(reason)  # its input was refused: no line has been run
    usage, output = usage_of(payload.get("usage")), payload.get("output_file_id")
    # Older batches and other providers say 0 tokens of lines that have been answered.
    if usage and (any(usage) or not output):
        return stated(usage, reason)
    if output:
        # It becomes a part of a path.
        fine = isinstance(output, str) and _ID.fullmatch(output)
        return replace(whole(reason), needs=output) if fine else whole(reason)
    lines = payload.get("request_counts")
    answered = lines.get("completed") if isinstance(lines, Mapping) else None
    return whole(reason) if counts(answered) and answered else nothing(reason)


def _tuning(payload: Mapping[str, Any], status: str, reason: EndReason) -> Ending:
    trained = payload.get("trained_tokens")
    if counts(trained) and trained:
        return stated(Tokens(trained, 0, 0), reason)
    return whole(reason) if status == "succeeded" else nothing(reason)


class Tokens(NamedTuple):
    prompt: int
    completion: int
    cached: int


def usage_of(value: Any) -> Tokens | None:
    """Usage as a provider states it, in either spelling; None where it states none."""
    if not isinstance(value, Mapping):
        return None
    prompt = value.get("input_tokens", value.get("prompt_tokens"))
    completion = value.get("output_tokens", value.get("completion_tokens", 0))
    if not counts(prompt) or not counts(completion):
        return None
    cached = [d.get("cached_tokens") for n in _DETAILS if isinstance(d := value.get(n), Mapping)]
    return Tokens(prompt, completion, next(filter(counts, cached), 0))


def stated(usage: Tokens, reason: EndReason, tier: str | None = None) -> Ending:
    """An end with its usage."""
    return Ending(
        True, usage.prompt, usage.completion, usage.cached, UsageSource.UPSTREAM, tier, reason
    )


def _used(value: Any, reason: EndReason, tier: str | None) -> Ending:
    usage = usage_of(value)
    if usage:
        return stated(usage, reason, tier)
    return whole(reason) if reason is EndReason.COMPLETED else nothing(reason)


_READERS: dict[ObjectKind, Callable[[Mapping[str, Any], str, EndReason], Ending]] = {
    ObjectKind.VIDEO: _thing,
    ObjectKind.UPLOAD: _thing,
    ObjectKind.RUN: _text,
    ObjectKind.RESPONSE: _text,
    ObjectKind.BATCH: _batch,
    ObjectKind.FINE_TUNING_JOB: _tuning,
}
