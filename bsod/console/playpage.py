"""The Playground tab: its page, and what the page's script asks for beside the calls themselves.

    GET  /playground/               the page; a stranger is invited to sign in
    GET  /playground/catalog/       the models by provider, with what each can be asked (JSON)
    GET  /playground/quota/         what is left, as the page's card shows it (JSON)
    GET  /playground/receipt/?id=…  what a call has cost, as `GET /v1/generations` says (JSON)
    POST /playground/submit/        one question, answered on the page itself: needs no JavaScript

Calls are made by `playground.py`. Nothing that is asked or answered here is kept anywhere.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import orjson
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST, require_safe

from accounts.keys.console import console_token
from bsod.console import catalogue, playground, quota
from bsod.console.catalogue import Listed, Reading
from bsod.console.pages import packed_page
from bsod.console.playwords import words
from bsod.console.quota import Card, Wallet
from bsod.console.sitting import Sitting
from bsod.lib import clock
from bsod.lib.terms import Bucket, Tier
from proxy import matching
from proxy.catalogue import media_bucket
from proxy.errors import ApiError, Code
from proxy.gateway import generations
from proxy.gateway.app import serve
from proxy.gateway.plane import GATEWAY, Gateway
from proxy.gateway.reading import number
from proxy.models import Provider
from proxy.providers.registry import ADAPTERS
from proxy.routes import ROUTES

CHAT = "chat/completions"
_GROUPS = {"chat", "responses", "completions", "images", "audio", "videos"}
_OFFERED = 200  # names a browser without scripts is offered
_TEXT = {Tier.BASE: Bucket.TEXT_BASE, Tier.PRO: Bucket.TEXT_PRO}


# ---- the page


@dataclass(frozen=True, slots=True)
class Turn:
    """One question asked without scripts, and what became of it."""

    model: str
    system: str
    prompt: str
    max_tokens: str
    status: int = 200
    answer: str = ""
    cut: bool = False
    """The answer was ended by the limit of tokens."""
    receipt: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    request_id: str = ""


@require_safe
@packed_page
def page(request: HttpRequest) -> HttpResponse:
    return _page(request, None)


def _page(request: HttpRequest, turn: Turn | None) -> HttpResponse:
    if not request.user.is_authenticated:
        return render(request, "console/playground_guest.html", {"next": request.get_full_path()})
    found = catalogue.snapshot()
    names = [row.name for row in found.texts[:_OFFERED]]
    asked = request.GET.get("model", "")[:256]
    wallet = quota.wallet(request.user, clock.now())
    shown: dict[str, Any] = {
        "base": request.build_absolute_uri("/").rstrip("/"),
        "model": turn.model if turn else asked or next(iter(names), ""),
        "names": names,
        "turn": turn,
        "wallet": wallet,
    }
    shown["setup"] = {
        "base": shown["base"], "language": get_language(), "model": shown["model"],
        "chosen": bool(asked), "words": words(), "quota": _told(wallet),
        "models": _first_of(found, shown["model"]),
    }  # fmt: skip
    status = turn.status if turn else 200
    return render(request, "console/playground.html", shown, status=status)


def _first_of(found: Reading, model: str) -> list[dict[str, Any]]:
    """What the page opens with: the model it was asked for, and of each modality the first one.

    All the others are read when somebody chooses: 10 000 models weigh as much as the page.
    """
    rows = [found.best[model]] if model in found.best else []
    rows += [each[0] for each in found.answering.values() if each and each[0] not in rows]
    kinds = _kinds()
    return [_described(row, kinds.get(row.provider, "")) for row in rows]


# ---- what the script asks for


@require_safe
@packed_page
def catalog(request: HttpRequest) -> HttpResponse:
    """Open to all, as the Models tab is."""
    found = catalogue.snapshot()
    kinds = _kinds()
    said = [
        {
            "id": shelf.slug,
            "name": shelf.title,
            "available": bool(shelf.up),
            "reason": shelf.reason,
            "models": [_described(row, kinds.get(shelf.slug, "")) for row in shelf.rows],
        }
        for shelf in found.shelves
    ]
    return _json({"object": "catalog", "providers": said})


def _kinds() -> dict[str, str]:
    return dict(Provider.objects.filter(deleted_at=None).values_list("slug", "kind"))


def _described(row: Listed, kind: str) -> dict[str, Any]:
    return {
        "id": row.name,
        "modality": row.modality,
        "endpoints": endpoints(kind, row.modality),
        "tier": row.tier,
        "bucket": bucket_of(row),
        "available": not row.reason,
        "reason": row.reason,
        "returns": row.returns,
        "context": row.context,
        "price": {"input": row.price_in, "output": row.price_out, "call": row.per_call},
    }


@lru_cache(maxsize=256)
def endpoints(kind: str, modality: str) -> list[str]:
    """What a model of a modality can be asked at a kind of provider, as paths below /v1/."""
    adapter = ADAPTERS.get(kind)
    return [
        route.path.removeprefix("/v1/")
        for route in ROUTES
        if adapter and route.service and adapter.serves(route.service)
        if route.group in _GROUPS and route.modality == modality and not route.variables
    ]


def bucket_of(row: Listed) -> Bucket:
    """What a call of a model draws on, on a plan of buckets."""
    return media_bucket(row.modality, row.name) or _TEXT[Tier(row.tier)]


@require_safe
def left(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        return playground.refused(_stranger())
    return _json(_told(quota.wallet(request.user, clock.now())))


def _told(wallet: Wallet) -> dict[str, Any]:
    cards = [*wallet.wide, *wallet.small]
    return {
        "object": "quota",
        "pays_credits": wallet.pays_credits,
        "resets_at": wallet.resets_at.isoformat(),
        "buckets": {str(card.bucket): _card(card) for card in cards},
    }


def _card(card: Card) -> dict[str, Any]:
    return {
        "name": str(card.look.name), "icon": card.look.icon, "unit": str(card.look.unit),
        "left": card.left, "limit": card.limit, "used": card.used, "reserved": card.reserved,
        "promo": card.promo,
        "meter": [card.meter.used, card.meter.held, card.meter.state],
    }  # fmt: skip


@require_GET
async def receipt(request: ASGIRequest) -> HttpResponse:
    try:
        # A database takes no NUL; no id has one.
        account, id_ = await _account(request), request.GET.get("id", "")[:64].replace("\0", "?")
        return _json(await generations.receipt(account, id_))
    except ApiError as error:
        return playground.refused(error)


async def _account(request: ASGIRequest) -> int:
    person = await request.auser()
    if not person.is_authenticated or person.pk is None:
        raise _stranger()
    return int(person.pk)


def _stranger() -> ApiError:
    return ApiError(Code.NOT_SIGNED_IN, "Sign in to use the playground.")


def _json(said: Any) -> HttpResponse:
    body = orjson.dumps(said)
    return HttpResponse(
        body, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


# ---- one question without scripts


@require_POST
async def submit(request: ASGIRequest) -> HttpResponseBase:
    try:
        account = await _account(request)
    except ApiError:
        return HttpResponseRedirect(f"/login/?next={quote('/playground/', safe='')}")
    said = [request.POST.get(name, "") for name in ("model", "system", "prompt", "max_tokens")]
    asked = Turn(said[0].strip(), said[1], said[2], said[3].strip())
    return await sync_to_async(_page)(request, await _answered(request, account, asked))


async def _answered(request: ASGIRequest, account: int, asked: Turn) -> Turn:
    if not asked.prompt.strip():
        return _with(asked, status=400, error={"message": _("Write something first.")})
    body = orjson.dumps(_body(asked))
    token = await sync_to_async(console_token)(account)
    sitting, gateway = Sitting(request, token, body), request.scope[GATEWAY]
    response = await sitting.response(_work(gateway, sitting))
    pieces = [piece async for piece in response]  # type: ignore[attr-defined]  # it streams
    return await _read(asked, account, sitting.id, response.status_code, b"".join(pieces))


def _body(asked: Turn) -> dict[str, Any]:
    """The very call `/v1/chat/completions` takes."""
    system = [{"role": "system", "content": asked.system}] if asked.system.strip() else []
    limit = {"max_tokens": number(asked.max_tokens)} if asked.max_tokens else {}
    messages = [*system, {"role": "user", "content": asked.prompt}]
    return {"model": asked.model, "messages": messages, **limit}


def _work(gateway: Gateway, sitting: Sitting) -> Any:
    found = matching.match("POST", b"/v1/" + CHAT.encode())
    assert found.route is not None, "a row of the table"
    return gateway.detach(serve(gateway, found.route, found.params, sitting))


async def _read(asked: Turn, account: int, id_: str, status: int, raw: bytes) -> Turn:
    """The answer or the refusal, and the receipt of either."""
    try:
        reply = orjson.loads(raw)
    except orjson.JSONDecodeError:
        reply = {}
    told: dict[str, Any] = {"status": status, "request_id": id_}
    try:
        told["receipt"] = await generations.receipt(account, id_)
    except ApiError:
        told["receipt"] = None  # refused by us: there is nothing to pay
    if status >= 400:
        return _with(asked, error=reply.get("error") or {"message": ""}, **told)
    choice = (reply.get("choices") or [{}])[0]
    text = (choice.get("message") or {}).get("content") or ""
    return _with(asked, answer=str(text), cut=choice.get("finish_reason") == "length", **told)


def _with(asked: Turn, **told: Any) -> Turn:
    return Turn(asked.model, asked.system, asked.prompt, asked.max_tokens, **told)
