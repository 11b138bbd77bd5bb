"""The written form of a promo code, and the proof of it that is stored.

A random code has 16 characters of Crockford's alphabet, 80 bits, in groups of four. What is typed
is folded before it is looked at: case, spaces and dashes do not matter, O is 0, I and L are 1, and
a Cyrillic letter that looks like a Latin one is that. Only an HMAC of the folded text is stored,
under the server's key: whoever reads the database has no code from it.
"""

import hashlib
import hmac
import re
import secrets
import unicodedata
from functools import cache

from django.conf import settings

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS, _GROUP = 4, 4
LEAST, MOST = 8, 40  # characters of a code that somebody has chosen
_LONGEST = 200  # characters of what is looked at at all
_FOLDED = re.compile(rf"[0-9A-Z]{{{LEAST},{MOST}}}", re.ASCII)
_SILENT = {"Pd", "Zs", "Zl", "Zp", "Cc", "Cf"}  # dashes, spaces, what cannot be seen
_ALIKE = str.maketrans("OILАВЕКМНОРСТУХ", "011ABEKMH0PCTYX")


def mint() -> str:
    """A new random code, as it is shown once."""
    return "-".join(
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS)
    )


def fold(text: str) -> str | None:
    """What a typed code means, or None when it can be no code of ours."""
    if len(text) > _LONGEST:
        return None
    plain = unicodedata.normalize("NFKC", text)
    heard = "".join(mark for mark in plain if unicodedata.category(mark) not in _SILENT)
    folded = heard.upper().translate(_ALIKE)
    return folded if _FOLDED.fullmatch(folded) else None


def digest(folded: str) -> str:
    """HMAC-SHA256 of a folded code under the server's key, hexadecimal."""
    return hmac.digest(_pepper(settings.SECRET_KEY), folded.encode(), "sha256").hex()


@cache
def _pepper(secret_key: str) -> bytes:
    return hashlib.sha256(b"promo-code:" + secret_key.encode()).digest()
