"""The first answer again, for a request that has been made before: nothing is drawn for it, and no
provider hears of it."""

from functools import partial

from bsod.lib.steps import step
from bsod.lib.vault import VaultError
from proxy.gateway.answer import send_json, timing
from proxy.gateway.aside import aside
from proxy.gateway.copying import owner
from proxy.gateway.exchange import Exchange
from proxy.gateway.idempotency import unknown
from proxy.gateway.journey import Replay
from proxy.gateway.limits import quota_headers
from proxy.pool import vault
from quotas import outcomes
from quotas.outcomes import Known


@step("replay")
async def answer(replay: Replay, exchange: Exchange) -> None:
    """Status, type and bytes of the first answer. ApiError 409 when it is there no more."""
    first = replay.first
    assert first.status, "only what has been kept is given again"
    body = await aside(partial(opened, first))
    headers = {
        "x-original-request-id": first.entry,
        "cache-control": "no-cache",
        "x-content-type-options": "nosniff",
        **quota_headers(replay.quota),
        **timing(exchange),
    }
    await send_json(exchange, first.status, body, headers, first.content_type)


def opened(first: Known) -> bytes:
    """The bytes of the first answer. ApiError 409."""
    sealed = outcomes.sealed(first.scope, first.entry)
    if sealed is None:
        raise unknown(first.entry)  # its day has ended this moment
    try:
        return vault().open_bytes(owner(first.scope, first.entry), sealed)
    except VaultError:
        # The vault key it was sealed with has been taken away.
        raise unknown(first.entry) from None
