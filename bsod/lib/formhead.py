"""The head of one part of a form, and the Content-Type of the whole: the strictest spelling only.

What is accepted reads the same in every parser there is. File names are judged here too: one that
could leave a folder, break a header or hide what it is does not go on.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

LONGEST_NAME = 255  # bytes of a file name, as file systems have it

_TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# A quoted string: no control characters; a backslash quotes the byte behind it.
_QUOTED = rb'"(?:[^\x00-\x1f\x7f"\\]|\\[\x20-\x7e])*"'
_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_PARAM = re.compile(
    rb"[ \t]*;[ \t]*(" + _TOKEN + rb")=(" + _QUOTED + rb"|" + _TOKEN + rb")(?=[ \t]*(?:;|$))"
)
_TYPE = re.compile(rb"(" + _TOKEN + rb"/" + _TOKEN + rb")(.*)", re.DOTALL)
# RFC 2046's characters; a space could not be told from padding.
_BOUNDARY = re.compile(rb"[A-Za-z0-9'()+_,./:=?-]{1,70}")
_EXTENDED = re.compile(
    rb"[Uu][Tt][Ff]-8'[A-Za-z0-9-]*'((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})+)"
)
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}$", re.ASCII)
# What leaves a folder or a quoted string, and what changes the direction a name is shown in.
_BREAKING = set('/\\"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069')
_LINES = {"Cc", "Zl", "Zp"}  # control characters and line ends
_PLAIN_CODINGS = {b"7bit", b"8bit", b"binary"}
_PLAIN_CHARSETS = {b"utf-8", b"utf8", b"us-ascii"}


class BadForm(Exception):
    """No form that can be read in one way only: a 400. The message is for the client."""


def inside() -> BadForm:
    return BadForm("The boundary occurs inside a part; choose a random one.")


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a part says."""

    name: bytes
    """As it stood between the quotes."""
    filename: str | None
    content_type: str
    length: int | None
    spellings: tuple[str, ...] = ()
    """Every file name there is; there can be one for old readers and one for new."""
    others: bytes = field(default=b"", repr=False)
    """All lines but Content-Disposition, as they were."""

    @property
    def text(self) -> str:
        return self.name.decode()

    def check_length(self, size: int) -> None:
        if self.length not in (None, size):
            raise BadForm(f"The Content-Length of the part '{self.text}' is not its length.")

    def renamed(self, filename: str) -> bytes:
        """The head with another file name, up to the content."""
        named = b'Content-Disposition: form-data; name="%b"; filename="%b"\r\n'
        return named % (self.name, filename.encode()) + self.others + b"\r\n"


def boundary_of(content_type: bytes) -> tuple[str, bytes]:
    """The header as it goes on, and the boundary it names."""
    found = _TYPE.fullmatch(content_type)
    if not found or found[1].lower() != b"multipart/form-data":
        raise BadForm("Send the body as 'Content-Type: multipart/form-data; boundary=...'.")
    boundary = _params(found[2], "the Content-Type").get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadForm(
            "The Content-Type names no boundary, or one that is not 1 to 70 plain characters."
        )
    return content_type.decode("latin-1"), boundary


def read_head(data: bytes) -> Head:
    """A part's head, without the empty line behind it."""
    lines = data.split(b"\r\n")
    found: dict[bytes, bytes] = {}
    others = b""
    for line in lines:
        matched = _LINE.fullmatch(line)
        if not matched:
            raise BadForm("A part's head is malformed: one 'Name: value' a line, ended by CR LF.")
        name = matched[1].lower()
        if name in found:
            raise BadForm("A part's head has a header twice.")
        found[name] = matched[2].rstrip(b" \t")
        if name != b"content-disposition":
            others += line + b"\r\n"
    disposition = found.get(b"content-disposition", b"")
    kind, semicolon, rest = disposition.partition(b";")
    if kind.strip(b" \t").lower() != b"form-data":
        raise BadForm("A part has no 'Content-Disposition: form-data; name=\"...\"'.")
    params = _params(semicolon + rest, "a Content-Disposition")
    name, spellings = _name(params), _spellings(params)
    return Head(
        name,
        spellings[-1] if spellings else None,
        _content_type(found.get(b"content-type", b""), plain=not spellings),
        _length(found),
        spellings,
        others,
    )


def _params(text: bytes, where: str) -> dict[bytes, bytes]:
    """`; name=value` again and again, each name once."""
    found: dict[bytes, bytes] = {}
    text, at = text.rstrip(b" \t"), 0
    while at < len(text):
        matched = _PARAM.match(text, at)
        if not matched or matched[1].lower() in found:
            raise BadForm(f"The parameters of {where} are malformed, or one is there twice.")
        # Backslashes stay: what they mean depends on who reads.
        found[matched[1].lower()] = matched[2].removeprefix(b'"').removesuffix(b'"')
        at = matched.end()
    return found


def _name(params: dict[bytes, bytes]) -> bytes:
    name = params.get(b"name", b"")
    if not params.keys() <= {b"name", b"filename", b"filename*"}:
        raise BadForm("A Content-Disposition has other parameters than name and filename.")
    # Without what one reader would take for an escape and another would not.
    if not name or b'"' in name or b"\\" in name:
        raise BadForm("A part has no name, or its name holds a quote or a backslash.")
    _text(name, "name")
    return name


def _spellings(params: dict[bytes, bytes]) -> tuple[str, ...]:
    found = []
    if b"filename" in params:
        found.append(_text(params[b"filename"], "filename"))
    if b"filename*" in params:
        extended = _EXTENDED.fullmatch(params[b"filename*"])
        if not extended:
            raise BadForm("A part's 'filename*' is not UTF-8''percent-encoded.")
        found.append(_text(unquote_to_bytes(extended[1]), "filename"))
    return tuple(found)


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadForm(f"A part's {what} is not UTF-8.") from None


def _content_type(value: bytes, *, plain: bool) -> str:
    if not value:
        return ""
    found = _TYPE.fullmatch(value)
    if not found:
        raise BadForm("A part's Content-Type is malformed.")
    if found[1].lower().startswith(b"multipart/"):
        raise BadForm("A part is itself multipart; send each file as a part of its own.")
    if plain:
        charset = _params(found[2], "a part's Content-Type").get(b"charset", b"utf-8").lower()
        if charset not in _PLAIN_CHARSETS:
            raise BadForm("A field has another charset than UTF-8.")
    return value.decode("latin-1")


def _length(found: dict[bytes, bytes]) -> int | None:
    coding = found.get(b"content-transfer-encoding", b"binary").lower()
    if coding not in _PLAIN_CODINGS or b"content-encoding" in found:
        raise BadForm("A part is encoded; send its bytes as they are.")
    length = found.get(b"content-length")
    if length is None:
        return None
    if not re.fullmatch(rb"[0-9]{1,15}", length):
        raise BadForm("A part's Content-Length is not a number.")
    return int(length)


def safe_name(head: Head) -> str | None:
    """What a file is to be called instead of its own name; None: that does no harm."""
    if not any(_hostile(name) for name in head.spellings):
        return None
    found = _EXTENSION.search(head.spellings[-1])
    return "file" + (found[0] if found else "")


def _hostile(name: str) -> bool:
    # Some readers decode what forms have encoded: `%22` is a quote to them.
    spelt = (name, unquote_to_bytes(name).decode(errors="replace"))
    return (
        not 0 < len(name.encode()) <= LONGEST_NAME
        or name.strip(" ") in ("", ".", "..")
        or any(c in _BREAKING or unicodedata.category(c) in _LINES for s in spelt for c in s)
    )
