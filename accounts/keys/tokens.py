"""The written form of an API key, and its proof.

`<prefix>-` + 12 characters [a-z0-9] public id + 43 characters base64url secret + 4 characters
checksum (SPEC §2). Parsed by length: the secret may itself contain `-`. Only an HMAC of the
secret is stored; the checksum tells a mistyped key from a wrong one without a database.
"""

import base64
import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass
from functools import cache

from django.conf import settings

_ID, _SECRET, _SUM = 12, 43, 4
_ALPHABET = string.ascii_lowercase + string.digits
_SHOWN = re.compile(rf"(?:[a-z0-9_]+-)?([a-z0-9]{{{_ID}}})(?:….{{0,4}})?", re.ASCII)
_BODY = re.compile(rf"[a-z0-9]{{{_ID}}}[A-Za-z0-9_-]{{{_SECRET + _SUM}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """A well-formed key as somebody presents it: who it claims to be, and the proof."""

    public_id: str
    digest: str


def mint(prefix: str | None = None) -> tuple[str, Token]:
    """A new key in full, to be shown once, and what of it is stored."""
    head = f"{prefix or settings.KEY_PREFIXES[-1]}-" + "".join(
        secrets.choice(_ALPHABET) for _ in range(_ID)
    )
    secret = secrets.token_urlsafe(32)
    text = head + secret
    return text + _checksum(text), Token(head[-_ID:], digest(secret))


def parse(text: str) -> Token | None:
    """The token a text spells, or None when it can be no key of ours."""
    body = text[-(_ID + _SECRET + _SUM) :]
    prefix = text[: -len(body)] if body else ""
    if prefix[:-1] not in settings.KEY_PREFIXES or prefix[-1:] != "-":
        return None
    if not _BODY.fullmatch(body) or _checksum(text[:-_SUM]) != text[-_SUM:]:
        return None
    return Token(body[:_ID], digest(body[_ID:-_SUM]))


def public_id_of(text: str) -> str:
    """The public id in a key as pages show it (`bsod-abcdefghijkl…WXYZ`), or in a piece of that;
    "" where there is none."""
    found = _SHOWN.fullmatch(text.strip())
    return found.group(1) if found else ""


def digest(secret: str) -> str:
    """HMAC-SHA256 of a secret under the server's key, hexadecimal."""
    return hmac.digest(_pepper(settings.SECRET_KEY), secret.encode(), "sha256").hex()


def matches(token: Token, stored: str) -> bool:
    """Constant-time comparison of a presented secret with a stored digest."""
    return hmac.compare_digest(token.digest, stored)


@cache
def _pepper(secret_key: str) -> bytes:
    return hashlib.sha256(b"api-key:" + secret_key.encode()).digest()


def _checksum(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())[:_SUM].decode()
