"""`/llms.txt`: the docs for a program that reads, as Markdown: where to call, with what, and a
line for every route of the table, with the page that says more."""

from functools import lru_cache

from django.http import HttpRequest, HttpResponse
from django.utils.translation import override
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from proxy import docs
from proxy.routes import ROUTES

_HEAD = """# BSOD

> One OpenAI-compatible address for many models. Use any OpenAI SDK with the base URL
> `{base}/v1` and a key of yours as `Authorization: Bearer KEY`.

- [OpenAPI document]({base}/v1/openapi.json)
- [Models, with what answers now]({base}/v1/models)
- [Errors]({base}/docs/errors/): as OpenAI's, `{{"error": {{"message", "type", "param", "code"}}}}`
- [Streaming]({base}/docs/streaming/): `"stream": true`, server-sent events up to `data: [DONE]`
- [Limits and cost]({base}/docs/limits/)
- [Everything on one page]({base}/docs/api/)
"""


@require_safe
@vary_on_headers("Host")
def llms(request: HttpRequest) -> HttpResponse:
    base = request.build_absolute_uri("/").rstrip("/")
    return HttpResponse(_told(base), content_type="text/plain; charset=utf-8")


@lru_cache(maxsize=8)
def _told(base: str) -> str:
    parts = [_HEAD.format(base=base)]
    with override("en"):
        for group, rows in docs.grouped(ROUTES).items():
            lines = [
                f"- [{route.method} {docs.shown_path(route)}]"
                f"({base}/docs/{group}/#{docs.name(route)}): {route.summary}"
                for route in rows
            ]
            parts.append("\n".join([f"## {docs.title(group)}", "", *lines, ""]))
    return "\n".join(parts)
