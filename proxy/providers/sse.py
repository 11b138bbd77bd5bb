"""Server-sent events, cut into events as the bytes come. No event is ever looked at twice."""

from typing import Final

LONGEST: Final = 32_000_000  # bytes one event may have (SPEC §4)


class TooLong(Exception):
    """An event outgrew the cap before it ended."""


class Splitter:
    """Bytes in, whole events out. A blank line ends an event, with either line ending."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._held = bytearray()
        self._longest = longest

    def feed(self, data: bytes) -> list[bytes]:
        """The events that `data` completes, without their blank line."""
        held = self._held
        # The end mark may have begun with the byte before; nothing earlier is searched again.
        start = max(0, len(held) - 1)
        if b"\r" in data or (held and held[-1:] == b"\r"):
            data = self._plain(data)
        held += data
        end = held.rfind(b"\n\n", start)
        if end < 0:
            if len(held) > self._longest:
                raise TooLong
            return []
        block = bytes(held[:end])
        del held[: end + 2]
        return [event for event in block.split(b"\n\n") if event.strip(b"\n")]

    def rest(self) -> bytes:
        """An event that the end of the stream cut off, or b""."""
        return bytes(self._held).strip(b"\r\n")

    def _plain(self, data: bytes) -> bytes:
        """Line endings as \\n. A \\r at the very end waits for what follows it."""
        if self._held[-1:] == b"\r":
            del self._held[-1:]
            data = b"\r" + data
        tail = b"\r" if data.endswith(b"\r") else b""
        body = data[: len(data) - len(tail)]
        return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail


def payload(event: bytes) -> bytes | None:
    """The data of an event, its lines joined; None for comments and events without data."""
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].lstrip(b" ")
    lines = [line[5:].lstrip(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
