"""What must never be read in a log, taken out of any text by its shape.

Keys of ours and of the providers, `Authorization` and what goes by such names, passwords in URLs.
Whoever writes a line should not have them in hand at all; this is the second wall.
"""

import re
from collections.abc import Iterable

MARK = "[redacted]"
_KEYS = (
    # Providers': OpenAI's, Anthropic's, Stripe-like, Groq's, xAI's, Perplexity's, Google's.
    r"\b(?:sk|pk|rk|gsk|xai|pplx|hf|r8|nvapi)[-_][-_A-Za-z0-9]{8,}",
    r"\bAIza[-_A-Za-z0-9]{8,}",
    r"\bya29\.[-_.A-Za-z0-9]{8,}",
    r"\bAKIA[A-Z0-9]{12,}",
    # A Telegram bot's, a JSON web token.
    r"\b\d{6,12}:[-_A-Za-z0-9]{30,}",
    r"\beyJ[-_A-Za-z0-9]{8,2000}\.[-_A-Za-z0-9]{4,2000}\.[-_A-Za-z0-9]*",
)
# Said by its name: what stands behind it goes, up to the end of the word or of the quotes.
_NAMED = re.compile(
    r"""(?P<name>["']?\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:bearer\s+|basic\s+)?
        |\bbearer\s+|\bbasic\s+(?=[A-Za-z0-9+/=]{12})
        |(?:api[-_]?key|secret|token|password|passwd|cookie)["']?\s*[:=]\s*["']?)
        (?!\[redacted\])(?P<value>[^\s"',;&)}\]]{6,})""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_IN_URL = re.compile(r"(?P<name>\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@\"']{0,128}:)[^\s/@\"']{1,256}@")


def pattern(prefixes: Iterable[str]) -> re.Pattern[str]:
    """The shapes of keys; ours begin with one of these prefixes."""
    ours = "|".join(sorted(map(re.escape, prefixes), key=len, reverse=True))
    own = (rf"\b(?:{ours})-[a-z0-9]{{12}}[-_A-Za-z0-9]{{8,}}",) if ours else ()
    return re.compile("|".join((*own, *_KEYS)), re.ASCII)


def redact(text: str, keys: re.Pattern[str]) -> str:
    """A text without what must not be read. `keys` is made by `pattern`."""
    text = keys.sub(MARK, text)
    text = _IN_URL.sub(rf"\g<name>{MARK}@", text)
    return _NAMED.sub(rf"\g<name>{MARK}", text)
