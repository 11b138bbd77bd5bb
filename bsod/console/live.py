"""What is true of the service right now, in a few numbers, for the rail and the first page.

What is up comes from the one reading of the catalogue, how calls fare from the counters that
`/status/` shows, read at most once in five seconds.
"""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from bsod.console import catalogue
from bsod.drawing import THIN, milliseconds, percent
from bsod.lib import clock
from bsod.monitoring import USUAL, Fresh
from proxy import figures
from proxy.histogram import quantile


@dataclass(frozen=True, slots=True)
class Health:
    mood: str
    """`good`, `soso` or `bad`: the face."""
    title: str
    up: int
    total: int


def health() -> Health:
    found = catalogue.snapshot()
    up, total = found.up, len(found.models)
    if up and up == total:
        return Health("good", _("All is well"), up, total)
    if up:
        return Health("soso", _("Mostly working"), up, total)
    title = _("Nothing answers") if total else _("No models yet")
    return Health("bad" if total else "soso", title, up, total)


def _day() -> figures.Tally:
    return figures.tally(figures.calls(figures.of_window(figures.WINDOWS[USUAL], clock.now())))


_days = Fresh(_day)


def day() -> list[tuple[str, str, str]]:
    """(number, unit, what it is): how the calls of the last day have fared."""
    whole = _days.get()
    told = [
        (percent(whole.success), _("calls answered, last 24 h")),
        (milliseconds(quantile(whole.first, 0.5)), _("p50 to the first byte")),
    ]
    return [(*_split(number), words) for number, words in told]


def _split(number: str) -> tuple[str, str]:
    """A number and its unit, which is drawn smaller; a dash has none."""
    value, _thin, unit = number.rpartition(THIN)
    return (value, unit) if value else (number, "")
