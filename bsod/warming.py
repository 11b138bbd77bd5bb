"""What the first visitor of a worker would wait for is loaded before the workers are forked.

Django loads most of what pages need when somebody asks for one: routes (on the event loop, where
all calls would wait for it), templates, words. Here all workers share it, and nothing of it opens a
thread or a connection.
"""

from collections.abc import Iterator

from django.conf import settings
from django.template.loader import get_template
from django.urls import reverse
from django.utils.translation import gettext, override

_TEMPLATES = ("console", "account", "monitoring", "parts", "docs")


def load() -> None:
    for language, _name in settings.LANGUAGES:
        with override(language):
            gettext("")
            reverse("account_login")
    for name in templates():
        get_template(name)


def templates() -> Iterator[str]:
    """The names of those that people see first; the admin's are read when an admin comes."""
    folder = settings.BASE_DIR / "templates"
    for part in _TEMPLATES:
        yield from (str(path.relative_to(folder)) for path in (folder / part).glob("*.html"))
