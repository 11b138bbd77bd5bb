"""Reading a form: into a spool as it comes, and only where there is room for it.

A disk that is full takes the ledger with it. So a form is not begun when what has been announced
and is still on its way would leave less than a reserve.
"""

import shutil
from typing import NamedTuple

from django.conf import settings

from bsod.lib.multipart import BadForm, Form, FormReader, FormTooLarge
from bsod.lib.spool import Spool
from proxy.errors import ApiError, Code, invalid
from proxy.gateway.exchange import Exchange
from proxy.route import Route, megabytes

RESERVE = 1_000_000_000  # bytes of disk that are the ledger's
_IN_MEMORY = 1_000_000
# Files of one name, as many as one likes; everything else is there once.
_MANY = ("image", "image[]")
_coming = 0
"""Bytes that this process has let forms announce, and that may not be on the disk yet."""


class Taken(NamedTuple):
    """A form that has come whole, where it lies, and its plain fields."""

    form: Form
    spool: Spool
    fields: dict[str, list[str]]


async def take(exchange: Exchange, content_type: bytes, route: Route) -> Taken:
    """The form of a request. ApiError 400, 413, 503."""
    global _coming
    size = exchange.length or route.body_limit
    spool = Spool(settings.DATA_DIR / "tmp", _IN_MEMORY)
    if size > _IN_MEMORY and shutil.disk_usage(settings.DATA_DIR).free < size + _coming + RESERVE:
        raise no_room()
    _coming += size
    try:
        return await _read(exchange, content_type, route, spool)
    except BaseException:
        spool.close()
        raise
    finally:
        _coming -= size


async def _read(exchange: Exchange, content_type: bytes, route: Route, spool: Spool) -> Taken:
    try:
        reader = FormReader(content_type, spool)
        async for piece in exchange.pieces(route.body_limit):
            reader.feed(piece)
        form = reader.finish()
        _check(form, route.file_limit)
        return Taken(form, spool, form.fields())
    except BadForm as error:
        raise ApiError(Code.INVALID_FORM, str(error)) from None
    except FormTooLarge as error:
        raise ApiError(Code.REQUEST_TOO_LARGE, str(error)) from None
    except OSError:
        raise no_room() from None


def _check(form: Form, most: int) -> None:
    for part in form.files:
        if part.name in form.repeated and part.name not in _MANY and not part.name.endswith("[]"):
            raise invalid(part.name, f"The file '{part.name}' appears twice.")
        if part.size > most:
            raise ApiError(
                Code.REQUEST_TOO_LARGE,
                f"The file '{part.name}' is larger than the {megabytes(most)} it may have.",
                param=part.name,
            )


def no_room() -> ApiError:
    return ApiError(
        Code.QUOTA_UNAVAILABLE, "There is no room for the body just now.", retry_after=30
    )
