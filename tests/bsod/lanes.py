"""Who answered on the wire, and whether two answers are the same."""

import json
import re
from collections.abc import Sequence
from typing import Any

from tests import kit
from tests.kit import Person, Site
from tests.rawclient import CHAT, JSON_TYPE, Header, Raw, Reply, request

GOODBYE = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
_OTHERS = {"date", "server", "x-request-id"}  # the server's own, and what is never twice the same
_NUMBERS = re.compile(rb"\d+")


def by_lane(reply: Reply) -> bool:
    """gunicorn signs what it answers, the lane does not."""
    assert reply.status, "there is no answer"
    return reply.header("server") is None and reply.header("connection") != "close"


def post(who: Person, body: Any, *headers: Header, host: str = "127.0.0.1") -> bytes:
    """The bytes of a chat completion as an SDK sends it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request("POST", CHAT, [*who.auth.items(), JSON_TYPE, *headers], data, host=host)


def everything(raw: Raw) -> list[Reply]:
    """All replies of a connection until the other side closes it."""
    replies: list[Reply] = []
    try:
        while (reply := raw.reply()).status:
            replies.append(reply)
    except ConnectionError:
        pass  # closed while something of ours was unread
    return replies


def reaction(site: Site, pieces: Sequence[bytes]) -> list[Reply]:
    """What a new connection says to these bytes, and then to a last request."""
    with Raw(site) as raw:
        try:
            for piece in pieces:
                raw.send(piece)
            raw.send(GOODBYE)
        except ConnectionError:
            pass  # it was refused before it was all said
        return everything(raw)


def same(reply: Reply) -> tuple[int, list[tuple[str, bytes]], bytes]:
    """A reply without what differs from one time to the next."""
    headers = [(name, value) for name, value in reply.headers if name not in _OTHERS]
    varying = [(name, _NUMBERS.sub(b"0", value.encode())) for name, value in headers]
    return reply.status, sorted(varying), _NUMBERS.sub(b"0", reply.body)


def rich(name: str = "rich") -> Person:
    """Somebody whom no limit stops."""
    return kit.person(name, unlimited=True)
