"""The playground's routes: calls of the gateway for whoever is signed in, billed to him.

    POST /playground/run/?endpoint=chat/completions           a call, its answer whole
    POST /playground/live-session/?endpoint=chat/completions  the same as server-sent events
    GET  /playground/video-status/?id=video_…[&content=1]     a film, or its bytes; without id: all

`endpoint` is a path of the API below /v1/; the body is what that path takes, JSON or a form. The
token against forged requests comes in the header X-CSRFToken alone: the body is the call's.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.http.response import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.datastructures import MultiValueDict
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from accounts.keys.console import console_token
from bsod.console.sitting import Sitting
from proxy import matching
from proxy.errors import ApiError, Code
from proxy.gateway.app import serve
from proxy.gateway.plane import GATEWAY, Gateway
from proxy.route import Route

Act = Callable[[ASGIRequest, int], Awaitable[HttpResponseBase]]
_GROUPS = {
    "chat", "responses", "completions", "embeddings", "moderations", "images", "audio", "videos"
}  # fmt: skip
_MOST_ASKED = 4_000_000  # bytes of JSON that are read to say `stream` in them


@csrf_exempt  # checked below, by the header alone: Django would look into the body first
@require_POST
async def run(request: ASGIRequest) -> HttpResponseBase:
    return await _guarded(request, _run)


@csrf_exempt  # as above
@require_POST
async def live_session(request: ASGIRequest) -> HttpResponseBase:
    return await _guarded(request, _live)


@require_GET
async def video_status(request: ASGIRequest) -> HttpResponseBase:
    return await _guarded(request, _video)


async def _guarded(request: ASGIRequest, act: Act) -> HttpResponseBase:
    """Only for who is signed in, from a page of ours. Refusals have the API's own shape."""
    try:
        _not_forged(request)
        person = await request.auser()
        if not person.is_authenticated or person.pk is None:
            raise ApiError(Code.NOT_SIGNED_IN, "Sign in to use the playground.")
        return await act(request, person.pk)
    except ApiError as error:
        return refused(error)


def refused(error: ApiError) -> HttpResponse:
    answer = HttpResponse(
        orjson.dumps(error.body()), status=error.status, content_type="application/json"
    )
    for name, value in error.headers().items():
        answer[name] = value
    answer["Cache-Control"] = "no-store"
    return answer


async def _run(request: ASGIRequest, account: int) -> HttpResponseBase:
    return await _call(request, account, "POST", request.GET.get("endpoint", ""))


async def _live(request: ASGIRequest, account: int) -> HttpResponseBase:
    """The call with `"stream": true`; a form says it for itself."""
    body = None
    if not request.META.get("CONTENT_TYPE", "").startswith("multipart/"):
        body = _streaming(request.read(_MOST_ASKED + 1))
    return await _call(request, account, "POST", request.GET.get("endpoint", ""), body)


def _streaming(raw: bytes) -> bytes:
    """A body that asks for a stream. What makes no sense goes on as it is, to be refused."""
    if len(raw) > _MOST_ASKED:
        raise ApiError(Code.REQUEST_TOO_LARGE, "A live session takes 4 MB. Use /v1 for more.")
    try:
        asked = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw
    return orjson.dumps({**asked, "stream": True}) if isinstance(asked, dict) else raw


async def _video(request: ASGIRequest, account: int) -> HttpResponseBase:
    path = "videos"
    if id_ := request.GET.get("id"):
        path += f"/{id_}" + ("/content" if request.GET.get("content") == "1" else "")
    return await _call(request, account, "GET", path, b"")


async def _call(
    request: ASGIRequest, account: int, method: str, endpoint: str, body: bytes | None = None
) -> HttpResponseBase:
    """A call of the gateway, as the account's console key."""
    found = matching.match(method, b"/v1/" + endpoint.strip("/").encode("ascii", "replace"))
    if found.route is None or not _offered(found.route):
        raise ApiError(
            Code.NOT_FOUND,
            "'endpoint' must be a route of the API that calls a model, as 'chat/completions'.",
        )
    sitting = Sitting(request, await sync_to_async(console_token)(account), body)
    gateway: Gateway = request.scope[GATEWAY]
    work = gateway.detach(serve(gateway, found.route, found.params, sitting))
    return await sitting.response(work)


def _offered(route: Route) -> bool:
    """What the playground can do: call models, and follow the films it has begun."""
    films = route.group == "videos" and route.method == "GET"
    return route.group in _GROUPS and bool(route.service) and (bool(route.modality) or films)


class _Check(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def _not_forged(request: ASGIRequest) -> None:
    """ApiError 403 unless the request comes from a page of ours. Django would look for the token
    in the body first, and eat it: here there is none to look at."""
    for name, nothing in (("_post", QueryDict()), ("_files", MultiValueDict())):
        setattr(request, name, nothing)
    check = _Check(lambda _: HttpResponse())
    check.process_request(request)
    if reason := check.process_view(request, run_by_hand, (), {}):
        raise ApiError(
            Code.PERMISSION_DENIED,
            f"This page is out of date: load it again. {reason}",
            extra={"code": "csrf_failed"},
        )


def run_by_hand(request: HttpRequest) -> HttpResponseBase:
    """Stands for the view while its CSRF check is run by hand: that one is not exempt."""
    raise NotImplementedError
