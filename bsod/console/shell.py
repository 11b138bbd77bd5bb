"""What stands around every page: tabs, account, language, theme, and how things are.

`shell` is a context processor: it reads cookies and the path, and nothing from a database before a
template asks for it. Language and theme are kept by `/preferences/`; this only shows them.
"""

from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_language

from bsod.console import live, tabs
from bsod.console.tabs import Tab

THEME_COOKIE = "theme"
THEMES = ("light", "dark")
"""Anything else: as the system is."""


class Shell:
    """The frame of one page, for its template."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.lit: Tab | None = tabs.lit(request.path)
        self.groups = tabs.grouped()
        self.bar = [tab for tab in tabs.TABS if tab.bar]
        self.more = [tab for tab in tabs.TABS if not tab.bar]
        self.theme = theme_of(request)
        self.language = get_language() or settings.LANGUAGE_CODE
        self.languages = [(code, code.upper(), name) for code, name in settings.LANGUAGES]
        self.here = request.get_full_path() if request.method == "GET" else "/"

    @cached_property
    def health(self) -> live.Health:
        return live.health()

    @cached_property
    def day(self) -> list[tuple[str, str, str]]:
        return live.day()

    @property
    def others(self) -> list[tuple[str, str, str]]:
        """The languages this page is not in."""
        return [each for each in self.languages if each[0] != self.language]


def theme_of(request: HttpRequest) -> str:
    """`light`, `dark`, or "" for the system's own."""
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return theme if theme in THEMES else ""


def shell(request: HttpRequest) -> dict[str, Any]:
    return {"shell": Shell(request)}
