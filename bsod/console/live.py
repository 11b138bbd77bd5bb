"""What is true of the service right now, in a few numbers, for the rail and the first page.

Everything here comes from one reading of the catalogue, kept for a few seconds by each process.
"""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from bsod.console import catalogue


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
