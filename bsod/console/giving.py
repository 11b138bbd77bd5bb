"""What a donor, or a donor's script, says of a key: one form for both, held to the same.

The secret is in no answer: its field is never filled again, no complaint repeats what was said,
and words that have the secret in them are taken out of the page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from bsod.console.forms import Lines, Units
from proxy.donations.checking import Refused
from proxy.donations.models import LONGEST_NOTE, MOST_CALLS, Donation

SHORTEST_KEY, LONGEST_KEY = 8, 500
LIMITS: dict[str, type] = {"daily_cap": int, "models": list}
GIFT: dict[str, type] = LIMITS | {"provider": str, "key": str, "note": str, "consent": bool}
_FORMED = RegexValidator(
    r"\A[\x21-\x7e]{8,}\Z",
    _("This is not a key: one has letters, digits and signs, and no spaces."),
)
_HERE_TOO = _("The key itself stands here too. Take it out.")
# What the service refuses, by its code, in words for a page; scripts have the service's own.
_WORDS: dict[str, Promise | str] = {
    "switched_off": _("Donations are closed: new keys are not taken just now."),
    "banned": _("This account is banned."),
    "unknown_provider": _("Choose one of the providers listed."),
    "consent_needed": _("Without your consent no key is taken."),
    "duplicate": _("This key is here already."),
    "invalid_models": _(
        "The key does not open all of these models. Check it to see which it does."
    ),
    "ended": _("It has ended: nothing more can be done with it."),
}
# These have one code; which of them it is matters to whoever has the key.
_DOES_NOT_WORK = (
    gettext_noop("The provider does not know this key."),
    gettext_noop("The provider refuses this key: its account has no credit or no permission."),
    gettext_noop("The provider cannot be reached just now. Try again later."),
    gettext_noop("The provider did not answer properly. Try again later."),
)


def words(code: str, text: str) -> str:
    """A refusal in the language of the page."""
    return str(_WORDS.get(code) or gettext(text))


def field(param: str) -> str | None:
    """What the service calls `secret` is the form's `key`."""
    return {"secret": "key"}.get(param, param) or None


class LimitsForm(forms.Form):
    """The terms on which a key is lent. Empty is without limit."""

    daily_cap = Units(min_value=1, max_value=MOST_CALLS, required=False)
    models = Lines(required=False, max_length=60_000)

    def refused(self, why: Refused) -> None:
        """What the service says against it, at the field it is about."""
        name = field(why.param)
        self.add_error(name if name in self.fields else None, words(why.code, why.text))

    @property
    def limits(self) -> dict[str, Any]:
        said = self.cleaned_data
        return {"daily_cap": said["daily_cap"], "models": said["models"] or None}


class DonateForm(LimitsForm):
    provider = forms.CharField(max_length=40)
    key = forms.CharField(max_length=LONGEST_KEY, validators=[_FORMED])
    note = forms.CharField(max_length=LONGEST_NOTE, required=False)
    consent = forms.BooleanField(required=False)
    providers: Sequence[str] = ()

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        secret = str(self.data.get("key", "")).strip()
        for name in ("provider", "note", "models", "daily_cap"):
            if len(secret) >= SHORTEST_KEY and secret in str(self.data.get(name, "")):
                self._blank(name)
        return said

    def _blank(self, name: str) -> None:
        """A secret that was pasted into another field is not kept, nor shown there."""
        fields: Any = self.data
        fields = fields.copy()  # a browser's is not to be changed
        fields[name] = ""
        self.data = fields
        self.errors.pop(name, None)
        self.add_error(name, _HERE_TOO)


def limits_of(donation: Donation) -> LimitsForm:
    """The form of the terms a key is lent on now."""
    return LimitsForm(initial=fields_of(donation))


def fields_of(donation: Donation) -> dict[str, Any]:
    models = "\n".join(donation.allowed_models or [])
    return {"daily_cap": donation.daily_cap, "models": models}


def spoken(said: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """A script's JSON as the form's fields. Raises ValueError: the name of what is wrong, or none
    where it is the name that is: it may be anything."""
    fields: dict[str, Any] = {}
    for name, value in said.items():
        if name not in kinds:
            raise ValueError("")
        if value is not None and type(value) is not kinds[name]:
            raise ValueError(name)
        if isinstance(value, list):
            if not all(isinstance(word, str) for word in value):
                raise ValueError(name)
            value = "\n".join(value)
        fields[name] = value
    return fields
