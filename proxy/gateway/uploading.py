"""Uploads, shown from our record alone: no provider can be asked for one (SPEC §4)."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from bsod.lib import clock
from bsod.lib.terms import ObjectKind
from proxy.errors import ApiError, Code
from proxy.gateway.aside import aside
from proxy.gateway.asking import Asking
from proxy.gateway.page import body, own_rows, page_of
from proxy.models import Object

_LIVES = 3600  # seconds
_SHOWN = ("bytes", "created_at", "filename", "purpose", "status", "expires_at")


async def uploads(asking: Asking) -> tuple[int, Any]:
    """A page of the caller's uploads."""
    assert asking.account is not None, "the route needs a key"
    page = page_of(asking.exchange.query.decode("latin-1"), ObjectKind.UPLOAD)
    found: list[tuple[str, dict[str, Any]]] = []
    async with aclosing(own_rows(asking.account, ObjectKind.UPLOAD, page)) as rows:
        async for row in rows:
            found.append((row.id, upload_shown(row.id, row.data)))
            if len(found) > page.limit:
                break
    return 200, body(found, page)


async def upload(asking: Asking) -> tuple[int, Any]:
    """One of them. ApiError 404, 410."""
    id_ = asking.params["upload_id"]
    assert asking.account is not None, "the route needs a key"
    rows = Object.objects.filter(
        account_id=asking.account, kind=ObjectKind.UPLOAD, upstream_id=id_
    ).order_by("-pk")
    names = ("data", "key__deleted_at", "provider__deleted_at")
    found = await aside(lambda: list(rows.values_list(*names)))
    if not found:
        raise ApiError(Code.NOT_FOUND, f"There is no such object as '{id_}'.", param="upload_id")
    living = [data for data, *deleted in found if not any(deleted)]
    if not living:
        raise ApiError(
            Code.UPSTREAM_GONE,
            f"The provider account that held '{id_}' is no longer here. Create it anew.",
            param="upload_id",
        )
    return 200, upload_shown(id_, living[0])


def upload_shown(id_: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """An upload as OpenAI shows one. One that nobody has ended in its hour has expired."""
    shown = {"id": id_, "object": "upload", **{n: data.get(n) for n in _SHOWN}}
    if shown["status"] in (None, "pending"):
        shown["status"] = "expired" if _over(data) else "pending"
    return shown


def _over(data: Mapping[str, Any]) -> bool:
    born, ends = data.get("created_at"), data.get("expires_at")
    if not isinstance(ends, int | float):
        ends = born + _LIVES if isinstance(born, int | float) else None
    return ends is not None and ends <= clock.now().timestamp()
