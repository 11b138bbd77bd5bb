"""What browsers and crawlers ask for by themselves, and what a phone needs to put the console on
its home screen. There is no service worker: a page that is somebody's own must not be kept by
anything that answers without asking us."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.templatetags.static import static
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

# Somebody's own, or a call: nothing to find there. Docs, models and status may be found.
_OWN = ("access", "account", "admin", "playground", "support", "usage", "v1")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """For whoever has read no page, which names a better one."""
    kept = {"Cache-Control": "max-age=86400"}
    return HttpResponseRedirect(static("console/icon-192.png"), headers=kept)


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    lines = ["User-agent: *", *(f"Disallow: /{part}/" for part in _OWN)]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; charset=utf-8")


@require_safe
def manifest(request: HttpRequest) -> JsonResponse:
    said = {
        "name": "BSOD",
        "short_name": "BSOD",
        "description": _("The blue screen that answers."),
        "id": "/",
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#0346d2",
        "theme_color": "#0346d2",
        "icons": [
            {"src": static("console/icon-192.png"), "sizes": "192x192", "type": "image/png"},
            {"src": static("console/icon-512.png"), "sizes": "512x512", "type": "image/png"},
            {"src": static("console/icon-maskable.png"), "sizes": "512x512", "type": "image/png",
             "purpose": "maskable"},
            {"src": static("look/face.svg"), "sizes": "any", "type": "image/svg+xml"},
        ],
    }  # fmt: skip
    return JsonResponse(said, content_type="application/manifest+json")
