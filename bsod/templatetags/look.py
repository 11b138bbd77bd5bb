"""Small parts every page is drawn with: icons, the face, numbers, moments.

Everything is plain markup with classes and attributes: the content policy allows no style in it.
"""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django import template
from django.template import Context
from django.utils.formats import date_format, number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from bsod.lib import clock

register = template.Library()
THIN = "\u2009"
NONE = "–"
KINDS = {"image": "image", "audio": "graphic_eq", "video": "movie", "embedding": "code",
         "moderation": "check"}  # fmt: skip
MOUTHS = {
    "good": "M20 9.5Q25.4 16 20 22.5",
    "soso": "M21.5 9.5V22.5",
    "bad": "M23.5 9.5Q18.1 16 23.5 22.5",
}


@register.simple_tag
@lru_cache(maxsize=512)
def icon(name: str, more: str = "") -> SafeString:
    """A glyph of the icon font; the words beside it say what it means."""
    return format_html('<i class="{}" aria-hidden="true" translate="no">{}</i>', more or "i", name)


@register.simple_tag
def face(mood: str = "good", size: int = 32, label: str = "", bare: bool = False) -> SafeString:
    """The face: on its tile, or bare on a blue screen. Without a label it is only drawn."""
    spoken = format_html('role="img" aria-label="{}"', label) if label else 'aria-hidden="true"'
    tile = "" if bare else SafeString('<rect width="32" height="32" rx="9"/>')
    box = "9.2 8 15.6 16" if bare else "0 0 32 32"
    return format_html(
        '<svg class="face {}{}" width="{}" height="{}" viewBox="{}" {}>{}'
        '<circle cx="11.5" cy="11" r="2.3"/><circle cx="11.5" cy="21" r="2.3"/>'
        '<path d="{}"/></svg>',
        mood, " bare" if bare else "", size, size, box, SafeString(spoken), tile, MOUTHS[mood],
    )  # fmt: skip


@register.filter
def number(value: Any, places: int = 0) -> str:
    """Groups of three with thin spaces, the language's decimal mark; nothing known is a dash."""
    if value is None or value == "":
        return NONE
    if type(value) is int and not places:
        return f"{value:,}".replace(",", THIN).replace("-", "\u2212")
    text = number_format(abs(value), decimal_pos=places, use_l10n=True, force_grouping=False)
    whole, mark, rest = text.partition("," if get_language() == "ru" else ".")
    digits = "".join(char for char in whole if char.isdigit())
    groups = [digits[max(0, end - 3) : end] for end in range(len(digits), 0, -3)][::-1]
    return ("\u2212" if value < 0 else "") + THIN.join(groups) + mark + rest


@register.filter
def short(value: int | None) -> str:
    """A size where it need not be exact: 400k, 1M."""
    if value is None:
        return NONE
    for unit, many in (("M", 1_000_000), ("k", 1_000)):
        if value >= many:
            text = f"{value / many:.3g}{unit}"
            return text.replace(".", ",") if get_language() == "ru" else text
    return str(value)


@register.filter
def bucket_class(bucket: str) -> str:
    return "b-" + str(bucket).replace(".", "-")


@register.filter
def waiting(delta: timedelta) -> str:
    """How long until something: 4 h 20 min, 3 days."""
    minutes = max(1, -(-int(delta.total_seconds()) // 60))
    if minutes >= 48 * 60:
        days = minutes // 1440
        return ngettext("%(n)s day", "%(n)s days", days) % {"n": days}
    hours, minutes = divmod(minutes, 60)
    parts = [_("%(n)s h") % {"n": hours}] if hours else []
    return " ".join([*parts, _("%(n)s min") % {"n": minutes}]).replace(" ", THIN)


@register.filter
def ago(moment: datetime | None) -> str:
    """How long since: minutes within the hour, else the date."""
    if moment is None:
        return NONE
    now = clock.now()
    minutes = int((now - moment).total_seconds() // 60)
    if minutes < 1:
        return _("just now")
    if minutes < 60:
        return _("%(n)s min ago") % {"n": minutes}
    if moment.date() == now.date():
        return date_format(moment, "H:i")
    return date_format(moment, _("j M") if moment.year == now.year else _("j M Y"))


@register.filter
def until(moment: datetime) -> str:
    """How long until a moment."""
    return waiting(max(timedelta(0), moment - clock.now()))


@register.filter
def percent(mille: int) -> str:
    """A share of a thousand, as people read it."""
    places = 1 if 0 < mille < 100 else 0
    return f"{number(mille / 10, places)}{THIN}%"


@register.filter
def kind_icon(modality: str) -> str:
    return KINDS.get(modality, "notes")


@register.simple_tag(takes_context=True)
def provider_link(context: Context, slug: str) -> str:
    """The same page, of one provider."""
    query = context["request"].GET.copy()
    query["provider"] = slug
    return f"?{query.urlencode()}"


@register.filter
def strings(code: str) -> SafeString:
    """A sample with its strings marked; copying it gives the very text."""
    parts = re.split(r'("(?:[^"\\\n]|\\.)*")', code)
    marked = ((format_html('<span class="s">{}</span>', p) if n % 2 else p,)
              for n, p in enumerate(parts))  # fmt: skip
    return format_html_join("", "{}", marked)
