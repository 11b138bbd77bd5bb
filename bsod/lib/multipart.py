"""multipart/form-data, read strictly while it comes, without I/O of its own.

The raw body goes into a spool and parts are remembered as offsets, so what need not change is sent
on byte for byte. Nothing that two readers might understand in two ways is accepted: bare line
feeds, folded or repeated headers, a boundary with something behind it, bytes before the first
part or after the last. Bytes are searched, never looked at one by one.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from bsod.lib.formhead import BadForm, Head, boundary_of, inside, read_head, safe_name
from bsod.lib.spool import Body, Cut, Spool

MOST_PARTS = 200
MOST_HEADER = 16_384  # bytes of one part's head
MOST_FIELD = 1_000_000  # bytes of a part that is no file
MOST_TEXT = 65_536  # bytes of a field that is read as text

__all__ = ["BadForm", "Form", "FormReader", "FormTooLarge", "Part"]


class FormTooLarge(Exception):
    """More parts, or larger ones, than a form may have: a 413. The message is for the client."""


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    filename: str | None
    """None: a plain field."""
    content_type: str
    """As it was sent; empty when it was not."""
    start: int
    size: int
    """Where the content lies in the spool."""
    span: range
    """The whole part, from its boundary to the next."""
    head: Head


class Form:
    """A form that has come whole. Usable until its spool is closed."""

    def __init__(self, content_type: str, boundary: bytes, spool: Spool, parts: list[Part]) -> None:
        self.content_type = content_type
        """The header to send `body` with: the client's own."""
        self.parts = tuple(parts)
        self._boundary, self._spool = boundary, spool

    @cached_property
    def repeated(self) -> set[str]:
        """Names that occur more than once, files and fields alike."""
        counted = Counter(part.name for part in self.parts)
        return {name for name, count in counted.items() if count > 1}

    @property
    def files(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.filename is not None)

    def text(self, part: Part, most: int = MOST_TEXT) -> str:
        """A plain field's value. FormTooLarge beyond `most` bytes, BadForm when it is no UTF-8."""
        if part.size > most:
            raise FormTooLarge(f"The field '{part.name}' is larger than {most} bytes.")
        try:
            return self._spool.read(part.start, part.size).decode()
        except UnicodeDecodeError:
            raise BadForm(f"The field '{part.name}' is not UTF-8 text.") from None

    def fields(self, most: int = MOST_TEXT) -> dict[str, list[str]]:
        """The values of all plain fields by name, in their order. Raises as `text` does."""
        found: dict[str, list[str]] = {}
        for part in self.parts:
            if part.filename is None:
                found.setdefault(part.name, []).append(self.text(part, most))
        return found

    def read(self, part: Part, length: int) -> bytes:
        """The beginning of a part's content."""
        return self._spool.read(part.start, min(length, part.size))

    def chunks(self, part: Part) -> Iterator[bytes]:
        """All of a part's content, in pieces."""
        return self._spool.chunks(part.start, part.size)

    def body(
        self,
        *,
        replace: Mapping[str, str] | None = None,
        drop: Collection[str] = (),
        rename_files: bool = True,
    ) -> Body:
        """What to send: the client's bytes, but for what is asked.

        A replaced field has its value once, where it came first, or at the end when it did not
        come at all; further parts of its name are dropped. `rename_files`: a file name that could
        do harm becomes `file` with its extension.
        """
        missing, gone = dict(replace or {}), {*(replace or {}), *drop}
        pieces: list[bytes | range] = []
        for part in self.parts:
            value = missing.pop(part.name, None)
            if value is not None and part.name not in drop:
                pieces.append(self._field(part.head.name, value))
            elif part.name not in gone:
                pieces += self._kept(part, rename_files)
        pieces += [
            self._field(_quotable(name), value)
            for name, value in missing.items()
            if name not in drop
        ]
        end = self.parts[-1].span.stop if self.parts else 0
        return Cut(self._spool, _merged([*pieces, range(end, self._spool.size)]))

    def _kept(self, part: Part, rename: bool) -> list[bytes | range]:
        safe = safe_name(part.head) if rename else None
        if safe is None:
            return [part.span]
        rest = range(part.start, part.span.stop)
        return [self._line() + part.head.renamed(safe), rest]

    def _field(self, name: bytes, value: str) -> bytes:
        data = value.encode()
        if b"\n--" + self._boundary in b"\n" + data:
            # It would end the part: whoever chose the boundary must not choose the next part.
            raise inside()
        head = b'Content-Disposition: form-data; name="%b"\r\n\r\n' % name
        return self._line() + head + data + b"\r\n"

    def _line(self) -> bytes:
        return b"--%b\r\n" % self._boundary


class FormReader:
    """Feed it the body as it comes; `finish` gives the form.

    BadForm and FormTooLarge come at the first byte that earns them, OSError from the spool. How
    large the whole body may be is the caller's to watch.
    """

    def __init__(
        self,
        content_type: bytes,
        spool: Spool,
        *,
        most_parts: int = MOST_PARTS,
        most_header: int = MOST_HEADER,
        most_field: int = MOST_FIELD,
    ) -> None:
        self._type, self._boundary = boundary_of(content_type)
        self._mark = b"\n--" + self._boundary
        self._spool, self._parts = spool, list[Part]()
        self._most_parts, self._most_header = most_parts, most_header
        self._most_field = most_field
        # The first boundary has no line end before it: as if there had been one.
        self._window, self._at = b"\r\n", -2
        """Bytes not understood yet, and where they begin in the body."""
        self._from = 0
        """How far the window has been searched in vain."""
        self._step = self._first
        self._open: Head | None = None
        self._start = self._line = 0
        """Where the part's content begins, and the boundary before it."""

    def feed(self, data: bytes) -> None:
        self._spool.write(data)
        self._window = self._window + data if self._window else data
        while self._step():
            pass

    def finish(self) -> Form:
        """BadForm when the end is missing."""
        if self._step != self._ended or self._window not in (b"", b"\r\n"):
            raise BadForm("The form ends before its last boundary.")
        return Form(self._type, self._boundary, self._spool, self._parts)

    # Each step takes what it can from the window; False: it needs more.

    def _first(self) -> bool:
        wanted = b"\r" + self._mark
        if self._window.startswith(wanted):
            self._take(len(wanted))
            self._step = self._boundary_end
            return True
        if wanted.startswith(self._window):
            return False
        raise BadForm("The form does not begin with the boundary its Content-Type names.")

    def _boundary_end(self) -> bool:
        if len(self._window) < 2:
            return False
        behind = self._window[:2]
        if behind == b"\r\n":
            if len(self._parts) == self._most_parts:
                raise FormTooLarge(f"The form has more than {self._most_parts} parts.")
            self._step = self._head
        elif behind == b"--":
            self._step = self._ended
        else:
            raise inside()
        self._take(2)
        return True

    def _head(self) -> bool:
        end = self._window.find(b"\r\n\r\n", self._from)
        if (end if end >= 0 else len(self._window)) > self._most_header:
            raise FormTooLarge(f"The head of a part is larger than {self._most_header} bytes.")
        if end < 0:
            self._from = max(0, len(self._window) - 3)
            return False
        if self._mark in b"\n" + self._window[:end]:
            raise inside()
        # Its line end stays: a boundary right behind it has none of its own, and is refused.
        self._open = read_head(self._window[:end])
        self._take(end + 2)
        self._start = self._at + 2
        self._step = self._content
        return True

    def _content(self) -> bool:
        head = self._open
        assert head is not None
        end = self._window.find(self._mark)
        # Without one, what may be the beginning of a boundary stays, and the byte before it.
        known = (end if end >= 0 else max(0, len(self._window) - len(self._mark))) - 1
        if head.filename is None and self._at + known - self._start > self._most_field:
            raise FormTooLarge(f"The field '{head.text}' is larger than {self._most_field} bytes.")
        if end < 0:
            self._take(known + 1)
            return False
        size = self._at + known - self._start
        if size < 0 or self._window[known : known + 1] != b"\r":
            # Some readers take this for a boundary.
            raise inside()
        self._close(head, size)
        self._take(end + len(self._mark))
        self._step = self._boundary_end
        return True

    def _close(self, head: Head, size: int) -> None:
        head.check_length(size)
        # The line end before a boundary belongs to it, but it is sent with the part before.
        end = self._start + size + 2
        self._parts.append(
            Part(
                head.text,
                head.filename,
                head.content_type,
                self._start,
                size,
                range(self._line, end),
                head,
            )
        )
        self._line = end

    def _ended(self) -> bool:
        if not b"\r\n".startswith(self._window):
            raise BadForm("There are bytes after the form's last boundary.")
        return False

    def _take(self, count: int) -> None:
        self._window, self._at, self._from = self._window[count:], self._at + count, 0


def _quotable(name: str) -> bytes:
    """A name of ours, as it may stand between quotes."""
    data = name.encode()
    if not data or any(byte < 32 or byte in b'"\\\x7f' for byte in data):
        raise ValueError("a field's name holds a quote, a backslash or a control character")
    return data


def _merged(pieces: list[bytes | range]) -> list[bytes | range]:
    """Ranges that touch become one: an unchanged form is read as it was written."""
    merged: list[bytes | range] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, range) and isinstance(last, range) and last.stop == piece.start:
            merged[-1] = range(last.start, piece.stop)
        else:
            merged.append(piece)
    return merged
