"""What a person, or a script, says of a key: one form for both, so that both are held to the same.

A field that is not sent is one that is off or empty, as browsers send forms. `spoken` turns a
script's JSON into the same fields, and refuses what nobody may say.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.caps import MOST
from accounts.keys.models import ApiKey
from bsod.console.quota import LOOKS
from bsod.lib import clock
from bsod.lib.terms import Bucket, Permission

CAP = "cap:"
DATE = "date"
TERMS = (
    ("", pgettext_lazy("expires", "Never")),
    ("1", _("In a day")),
    ("7", _("In 7 days")),
    ("30", _("In 30 days")),
    ("90", _("In 90 days")),
    ("365", _("In a year")),
    (DATE, _("On a date")),
)
SWITCHES: tuple[tuple[str, Any, str], ...] = (
    (Permission.PRO_MODELS, _("Pro models"), "psychology"),
    (Permission.IMAGES, _("Images"), "image"),
    (Permission.AUDIO, pgettext_lazy("bucket", "Audio"), "graphic_eq"),
    (Permission.VIDEO, _("Video"), "movie"),
    (Permission.FILES, _("Files"), "draft"),
    (Permission.BALANCE, _("Balance"), "toll"),
    (Permission.REALTIME, _("Realtime"), "bolt"),
)
_SPACES = dict.fromkeys(map(ord, " \u2009\u00a0\u202f"))
# What a script may say, and what a list of it is made of.
_SAID = {"name": str, "permissions": list, "caps": dict, "requests_per_minute": int,
         "open_calls": int, "allowed_models": list, "networks": list,
         "expires_at": str}  # fmt: skip


class Units(forms.IntegerField):
    """A whole number as people write it: 50 000 is one."""

    def to_python(self, value: Any) -> int | None:
        return super().to_python(value.translate(_SPACES) if isinstance(value, str) else value)


class Lines(forms.CharField):
    """A list, one a line or with commas between. Its text is held to what a text is held to."""

    def clean(self, value: Any) -> Any:
        text = super().clean(value) or ""
        return [word for line in text.splitlines() for part in line.split(",")
                if (word := part.strip())]  # fmt: skip


class Moment(forms.DateTimeField):
    """A moment or a day, as people and scripts write it; of UTC where no zone is said."""

    def to_python(self, value: Any) -> datetime | None:
        try:
            moment = super().to_python(value)
            return moment.astimezone(UTC) if moment else None
        except OverflowError:  # beyond the years there are
            raise forms.ValidationError(self.error_messages["invalid"], "invalid") from None


class KeyForm(forms.Form):
    made: Any = None
    """What the service has made of it."""
    name = forms.CharField(max_length=80)
    permissions = forms.MultipleChoiceField(
        choices=[(name, label) for name, label, _icon in SWITCHES], required=False
    )
    requests_per_minute = Units(min_value=1, max_value=2**31 - 1, required=False)
    open_calls = Units(min_value=1, max_value=2**31 - 1, required=False)
    allowed_models = Lines(required=False, max_length=130_000)
    networks = Lines(required=False, max_length=30_000)
    expires = forms.ChoiceField(choices=TERMS, required=False)
    expires_at = Moment(required=False, input_formats=["%Y-%m-%d"])

    def __init__(self, *args: Any, ends: datetime | None = None, **kwargs: Any) -> None:
        """`ends`: when the key that is changed expires by now."""
        super().__init__(*args, **kwargs)
        self._ends = ends
        for bucket in Bucket:
            self.fields[CAP + bucket] = Units(min_value=0, max_value=MOST, required=False)

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        term, moment = said.get("expires"), said.get("expires_at")
        if term == DATE and not moment and "expires_at" not in self.errors:
            self.add_error("expires_at", _("Say on which date."))
        if term and term != DATE:
            moment = clock.now() + timedelta(days=int(term))
        elif not term and "expires" in self.data:
            moment = None
        if moment and self._ends and moment == self._ends.replace(second=0, microsecond=0):
            moment = self._ends  # as the form showed it, be it over or not
        elif moment and moment <= clock.now():
            self.add_error("expires_at", _("That moment is over."))
        said["expires_at"] = moment
        return said

    def said(self) -> dict[str, Any]:
        """The fields as `accounts.keys.service` takes them."""
        clean = self.cleaned_data
        caps = {str(b): clean[CAP + b] for b in Bucket if clean[CAP + b] is not None}
        plain = ("name", "permissions", "requests_per_minute", "open_calls", "allowed_models",
                 "networks", "expires_at")  # fmt: skip
        return {name: clean[name] for name in plain} | {"caps": caps}

    # ---- for the template

    def switches(self) -> Iterator[tuple[str, Any, str, bool]]:
        on = self["permissions"].value() or []
        for name, label, icon in SWITCHES:
            yield name, label, icon, name in on

    def caps(self) -> list[tuple[str, Any, Any]]:
        """(bucket, look, field) of all but the videos."""
        return [cap for cap in self._caps() if not cap[0].startswith("video")]

    def video_caps(self) -> list[tuple[str, Any, Any]]:
        return [cap for cap in self._caps() if cap[0].startswith("video")]

    def video_said(self) -> bool:
        return any(field.value() not in (None, "") for _bucket, _look, field in self.video_caps())

    def _caps(self) -> Iterator[tuple[str, Any, Any]]:
        for bucket, look in LOOKS.items():
            yield bucket, look, self[CAP + bucket]


def blank() -> KeyForm:
    """The form of a new key: everything is allowed."""
    return KeyForm(initial={"permissions": [name for name, _label, _icon in SWITCHES]})


def filled(key: ApiKey) -> KeyForm:
    """The form of a key there is."""
    return KeyForm(initial=fields_of(key))


def fields_of(key: ApiKey) -> dict[str, Any]:
    """A key as the form's fields, so that a script may change one and leave the others."""
    ends = key.expires_at
    return {
        "name": key.name,
        "permissions": key.permissions,
        "requests_per_minute": key.requests_per_minute,
        "open_calls": key.open_calls,
        "allowed_models": "\n".join(key.allowed_models),
        "networks": "\n".join(key.networks),
        "expires": DATE if ends else "",
        "expires_at": ends.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if ends else "",
    } | {CAP + bucket: cap for bucket, cap in key.caps.items()}


def spoken(said: Any, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A script's JSON as the form's fields. Raises ValueError, with the name of what is wrong."""
    if not isinstance(said, dict):
        raise ValueError("")
    fields = dict(known or {"permissions": [name for name, _label, _icon in SWITCHES]})
    for name, value in said.items():
        kind = _SAID.get(name)
        if kind is None or not (value is None or _is(value, kind)):
            raise ValueError(str(name)[:64])
        fields.update(_field(name, value))
    return fields


def _is(value: Any, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    return type(value) is kind


def _field(name: str, value: Any) -> dict[str, Any]:
    if name == "caps":
        unknown = set(value or {}) - set(Bucket)
        if unknown or any(type(cap) is not int for cap in (value or {}).values()):
            raise ValueError("caps")
        return {CAP + bucket: (value or {}).get(bucket) for bucket in Bucket}
    if name == "expires_at":
        return {"expires": DATE if value else "", name: value or ""}
    if name in ("allowed_models", "networks"):
        return {name: "\n".join(value or [])}
    return {name: value}
