"""`POST /admin/promocodes/`: offers and their codes by script, by the same service as the pages.

    {"action": "make", "name": "spring", "grants": {"image": 5}, "count": 10, …}
    {"action": "disable", "promo": 7, "reason": "leaked"}      or "code", or lists of them

The codes that are made are in this one answer, in full, and nowhere else.
"""

from collections.abc import Collection, Mapping
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest

from bsod.backstage.routes import Act, Asked, Refused, actor, acts, reason, several, text
from bsod.console.errors import wants_json
from bsod.lib import clock
from promos.forms import MakeForm
from promos.models import Promo, PromoCode
from promos.service import disable, make_codes
from quotas.buckets import BUCKETS

_FIELDS = (*MakeForm.Meta.fields, "count", "chosen", "reason")
_NUMBERS = ("uses", "per_user", "count", "grant_days")
_DEFAULTS = {"uses": 1, "per_user": 1, "count": 1}


def _make(request: HttpRequest, asked: Asked) -> Mapping[str, Any]:
    """The form of the page, filled in by a script."""
    if not wants_json(request):
        # On the page after a redirect they could be shown only if they had been kept.
        raise Refused("The codes are in the answer, once: send or accept application/json.")
    promo = Promo()
    form = MakeForm(_filled(asked), instance=promo)
    if not form.is_valid():
        field, errors = next(iter(form.errors.items()))
        said = " ".join(map(str, errors))
        if field == NON_FIELD_ERRORS:
            raise Refused(said)
        raise Refused(f"{field}: {said}", param=field)
    clean = form.cleaned_data
    codes = make_codes(
        promo, count=clean["count"], chosen=clean["chosen"], by=actor(request),
        reason=text(asked, "reason"),
    )  # fmt: skip
    given = {"id": promo.pk, "name": promo.name, "grants": promo.grants, "uses": promo.uses}
    return {"promo": given, "codes": codes, "message": f"{promo.name}: {len(codes)} codes made."}


def _filled(asked: Asked) -> dict[str, Any]:
    """JSON as the form's boxes have it; what is missing is as the page begins."""
    boxes: dict[str, Any] = {**_DEFAULTS, "valid_from": clock.now().isoformat()}
    for name, value in asked.items():
        if name == "grants":
            boxes |= _amounts(value)
        elif name in _NUMBERS:
            boxes[name] = _whole(name, value)
        elif name == "first_users_only":
            boxes[name] = _yes(name, value)
        else:
            boxes[name] = text(asked, name)
    return boxes


def _yes(name: str, value: Any) -> bool:
    known = {"true": True, "on": True, "1": True, "false": False, "": False, "0": False}
    found = known.get(str(value).lower()) if isinstance(value, bool | str) else None
    if found is None:
        raise Refused(f"{name} must be true or false.", param=name)
    return found


def _amounts(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused('grants must be units by bucket, such as {"image": 5}.', param="grants")
    unknown = [name for name in value if name not in BUCKETS]
    if unknown:
        known = ", ".join(BUCKETS)
        raise Refused(f"There is no bucket {unknown[0][:40]}. Buckets: {known}.", param="grants")
    return {f"grants_{name}": _whole("grants", units) for name, units in value.items()}


def _whole(name: str, value: Any) -> Any:
    """A number, or its text from a form; nothing that only looks like one."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Refused(f"{name} must be a whole number.", param=name)
    return value


def _disable(request: HttpRequest, asked: Asked) -> Mapping[str, Any]:
    why = reason(asked)
    kinds = {"promo": Promo.objects.all(), "code": PromoCode.objects.all()}
    given = [name for name in kinds if asked.get(name)]
    if len(given) != 1:
        raise Refused("Name a promo or a code: one, or a list.", param="promo")
    ids = several(asked, given[0])
    rows: Any = kinds[given[0]].filter(pk__in=_numbers(ids, given[0]))
    missing = set(ids) - {str(row.pk) for row in rows}
    if missing:
        raise Refused(f"There is no {given[0]} {min(missing)[:40]}.", param=given[0], status=404)
    changed = disable(rows, by=actor(request), reason=why)
    return {"disabled": [row.pk for row in changed], "message": f"{len(changed)} switched off."}


def _numbers(ids: Collection[str], name: str) -> list[int]:
    if not all(each.isascii() and each.isdecimal() and len(each) < 19 for each in ids):
        raise Refused(f"{name} must be an id or a list of them.", param=name)
    return [int(each) for each in ids]


promocodes = acts(
    "admin:promos_promo_changelist",
    {
        "make": Act("promos.add_promo", _FIELDS, _make),
        "disable": Act("promos.change_promo", ("promo", "code", "reason"), _disable),
    },
)
