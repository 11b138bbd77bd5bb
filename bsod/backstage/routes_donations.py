"""`POST /admin/donations/`: decide about donated keys, ask them again, take them out."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django.http import HttpRequest

from bsod.backstage.routes import Act, Asked, Refused, actor, acts, several, text
from proxy.donations import checking
from proxy.donations.models import Donation
from proxy.donations.moderation import ACTS, MOST, Outcome, Said, moderate

MAY = "donations.change_donation"
_FIELDS = {"approve": ("trusted",), "trust": ("trusted",)}
_YES, _NO = ("1", "on", "true", "yes"), ("", "0", "off", "false", "no")


def _do(request: HttpRequest, asked: Asked, name: str) -> Mapping[str, Any]:
    rows = _found(several(asked, "donation", "donations", most=MOST))
    said = Said(text(asked, "reason"), _flag(asked, "trusted", default=name == "trust"))
    try:
        outcomes = moderate(name, rows, actor(request), said)
    except checking.Refused as why:
        status = 409 if why.code == "unfit" else 400
        raise Refused(why.text, param=why.param or None, status=status) from None
    if not any(one.done for one in outcomes):
        raise Refused(told(outcomes), param="donations", status=409)
    return {"donations": [_shown(one) for one in outcomes], "message": told(outcomes)}


def _found(names: Sequence[str]) -> list[Donation]:
    """By number or by uid."""
    rows = []
    for name in names:
        by = {"pk": int(name)} if name.isascii() and name.isdecimal() else {"uid": name}
        known = len(name) < 19 or "uid" in by
        row = Donation.objects.select_related("provider").filter(**by).first() if known else None
        if row is None:
            raise Refused(f"There is no donation {name[:60]}.", param="donations", status=404)
        rows.append(row)
    return rows


def _flag(asked: Asked, name: str, *, default: bool) -> bool:
    value = asked.get(name, default)
    word = str(value).lower()
    if isinstance(value, bool | str | int) and word in (*_YES, *_NO):
        return word in _YES
    raise Refused(f"{name} must be true or false.", param=name)


def _shown(one: Outcome) -> dict[str, Any]:
    row = one.donation
    return {"id": row.pk, "uid": row.uid, "state": row.state, "done": one.done, "text": one.text}


def told(outcomes: Sequence[Outcome]) -> str:
    """What became of it, for a person."""
    if len(outcomes) == 1:
        return f"{outcomes[0].donation}: {outcomes[0].text}"
    done = [one for one in outcomes if one.done]
    parts = [f"{len(done)} of {len(outcomes)} done"] if done else []
    parts += [f"{one.donation}: {one.text}" for one in outcomes if not one.done]
    return "; ".join(parts)


donations = acts(
    "admin:donations_donation_changelist",
    {
        name: Act(
            MAY, ("donation", "donations", "reason", *_FIELDS.get(name, ())),
            partial(_do, name=name), whole=False,
        )
        for name in ACTS
    },
)  # fmt: skip
