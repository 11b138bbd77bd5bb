"""What of a provider's headers goes on with a body that is not JSON: few, and only harmless ones.

Files hold whatever somebody has put there: a browser must neither run nor show them.
"""

import re
from collections.abc import Mapping

_TYPE = re.compile(r"(application/json|text/plain|text/vtt|text/srt|application/x-subrip)\b")
_MEDIA = re.compile(r"(?:audio|video|image)/[a-z0-9.+-]{1,60}(?:; ?codecs=[a-z0-9]{1,20})?")
_PASSED = ("content-length", "content-range", "accept-ranges", "etag", "last-modified")
_VALUE = re.compile(r"[\x20-\x7e]{1,200}")


def text_type(headers: Mapping[str, str]) -> str:
    """The type of an answer in words."""
    found = _TYPE.match(headers.get("content-type", ""))
    kind = found[1] if found else "text/plain"
    return kind if kind == "application/json" else f"{kind}; charset=utf-8"


def headers(upstream: Mapping[str, str], media: bool) -> dict[str, str]:
    """Headers of bytes. `media`: they were made by a model; else they are somebody's file."""
    kind = upstream.get("content-type", "").lower()
    known = kind if _MEDIA.fullmatch(kind) and "svg" not in kind else ""
    if not known and kind.partition(";")[0] in ("application/json", "application/jsonl"):
        known = kind.partition(";")[0]
    passed = {name: upstream[name] for name in _PASSED if _VALUE.fullmatch(upstream.get(name, ""))}
    guard = {"x-content-type-options": "nosniff"}
    if not media:
        guard |= {
            "content-disposition": "attachment",
            "content-security-policy": "sandbox; default-src 'none'",
        }
    return {"content-type": known or "application/octet-stream", **passed, **guard}
