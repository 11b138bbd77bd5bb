"""What unfold is told of our look: the console's face and colours, and whose sidebar it is.

Read by the settings, so nothing here may know a model. The colours are in `static/look/admin.css`:
unfold would write them into every page, which the content policy forbids.
"""

from typing import Any

from django.templatetags.static import static

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "BSOD admin",
    "SITE_HEADER": "BSOD",
    "SITE_SUBHEADER": "Admin",
    "SITE_URL": "/",
    "SITE_ICON": lambda request: static("look/face.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("look/face.svg")}
    ],
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda request: static("look/admin.css")],
    "DASHBOARD_CALLBACK": "bsod.backstage.front.callback",
    "SIDEBAR": {"navigation": "bsod.backstage.sidebar.navigation"},
    "ACCOUNT": {"navigation": [{"title": "Second factor", "link": "/account/security/"}]},
}
