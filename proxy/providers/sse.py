"""Server-sent events, cut into events as the bytes come. No event is ever looked at twice."""

from typing import Final

LONGEST: Final = 32_000_000  # bytes one event may have (SPEC §4)


class TooLong(Exception):
    """An event outgrew the cap before it ended."""


class Splitter:
    """Bytes in, whole events out. A blank line ends an event, with any of the line endings."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._held = bytearray()
        self._longest = longest
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes, without their blank line."""
        if self._after_cr or b"\r" in data:
            data = self._plain(data)
        held = self._held
        # The end mark may have begun with the byte before; nothing earlier is searched again.
        start = max(0, len(held) - 1)
        held += data
        end = held.rfind(b"\n\n", start)
        if end < 0:
            if len(held) > self._longest:
                raise TooLong
            return []
        block = bytes(held[:end])
        del held[: end + 2]
        return [event for part in block.split(b"\n\n") if (event := part.strip(b"\n"))]

    def _plain(self, data: bytes) -> bytes:
        """Line endings as \\n. A \\r ends its line at once; a \\n right behind it is dropped."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def payload(event: bytes) -> bytes | None:
    """The data of an event, its lines joined; None for comments and events without data."""
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].lstrip(b" ")
    lines = [line[5:].lstrip(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
