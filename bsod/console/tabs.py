"""The tabs of the console: what the rail, the bar of a phone and its sheet show, in this order.

A new tab is a line here and a line in `bsod/urls.py`; its page extends `base.html`. It is lit where
the path begins with the tab's own, so pages below a tab belong to it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Lazy

MAIN, ACCOUNT, SYSTEM = "main", "account", "system"
HEADS: "dict[str, Lazy | str]" = {MAIN: "", ACCOUNT: _("Your account"), SYSTEM: _("System")}


@dataclass(frozen=True, slots=True)
class Tab:
    path: str
    icon: str
    label: "Lazy | str"
    """At most twelve letters."""
    group: str = MAIN
    bar: bool = False
    """Has a place in the bar of a phone; the others are in its sheet."""

    def lit(self, path: str) -> bool:
        return path == self.path if self.path == "/" else path.startswith(self.path)


TABS: tuple[Tab, ...] = (
    Tab("/", "api", "API", bar=True),
    Tab("/playground/", "forum", pgettext_lazy("tab", "Playground"), bar=True),
    Tab("/models/", "category", _("Models"), bar=True),
    Tab("/docs/", "menu_book", pgettext_lazy("tab", "Docs")),
    Tab("/access/", "key", pgettext_lazy("tab", "Access"), ACCOUNT, bar=True),
    Tab("/usage/", "bar_chart", pgettext_lazy("tab", "Usage"), ACCOUNT),
    Tab("/support/", "volunteer_activism", pgettext_lazy("tab", "Support"), ACCOUNT),
    Tab("/status/", "monitoring", pgettext_lazy("tab", "Status"), SYSTEM),
)


def lit(path: str) -> Tab | None:
    """The tab a page belongs to."""
    return next((tab for tab in TABS if tab.lit(path)), None)


def grouped() -> "list[tuple[Lazy | str, list[Tab]]]":
    """The tabs under their heads, as the rail shows them."""
    found = [(head, [tab for tab in TABS if tab.group == group]) for group, head in HEADS.items()]
    return [(head, tabs) for head, tabs in found if tabs]
