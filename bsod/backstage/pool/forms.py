"""What an admin may say of providers, keys and models.

A base URL leads to the Internet, unless the box says that a private network is meant. A proxy's
password is shown to nobody. Keys are typed into fields that show nothing and are never filled.
"""

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from accounts.staff import ReasonForm
from bsod.lib.addresses import Address, literal, resolve
from bsod.lib.terms import Modality, Service, Tier
from proxy import service
from proxy.models import Model, Provider, ProviderKey
from proxy.providers.registry import ADAPTERS

SECRETS = ("secret_1", "secret_2", "secret_3")
HIDDEN = "…"
SPOKEN = (Service.CHAT, Service.RESPONSES, Service.COMPLETIONS)


def addresses(url: str) -> list[Address]:
    """Where a URL leads today. ValidationError: nowhere, or where nobody serves models."""
    try:
        parts = urlsplit(url)
        found = resolve(parts.hostname or "", parts.port or 443)
    except (OSError, ValueError):
        raise ValidationError(
            {"base_url": "That host is not found, or serves no models."}
        ) from None
    return [address for host in found if (address := literal(host))]


def without_password(url: str) -> str:
    """A proxy's URL as pages show it."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://{HIDDEN}@{tail}" if at else url


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    private_network = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget,
        help_text="The base URL is on a private network or on this machine",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._proxy = self.instance.proxy_url
        self.initial["proxy_url"] = without_password(self._proxy)

    def clean_proxy_url(self) -> str:
        url: str = self.cleaned_data["proxy_url"].strip()
        if self._proxy and url == without_password(self._proxy):
            return str(self._proxy)
        if (url and urlsplit(url).scheme not in ("http", "https")) or HIDDEN in url:
            raise ValidationError("It must begin with http:// or https://, with a whole password.")
        return url

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        url = cleaned.get("base_url", "")
        if "base_url" in self.changed_data and url:
            self._check(url, bool(cleaned.get("private_network")))
        return cleaned

    def _check(self, url: str, private: bool) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            self.add_error("base_url", "It must begin with https:// or http://.")
            return
        for address in addresses(url):
            if address.is_multicast or address.is_unspecified:
                self.add_error("base_url", "No provider is served from that address.")
            elif not address.is_global and not private:
                self.add_error("base_url", "That is a private network: tick the box if it is meant")


def _secret_field(number: int) -> forms.CharField:
    return forms.CharField(
        label="API key" if number == 1 else "Another key",
        required=number == 1,
        max_length=4000,
        widget=UnfoldAdminPasswordWidget({"autocomplete": "off", "spellcheck": "false"}),
    )


class _Secrets(forms.Form):
    """One key or several."""

    secret_1, secret_2, secret_3 = (_secret_field(number) for number in (1, 2, 3))

    def secrets(self) -> list[str]:
        return [text for name in SECRETS if (text := self.cleaned_data.get(name))]

    def check_secrets(self) -> None:
        for name in SECRETS:
            if text := self.cleaned_data.get(name):
                try:
                    service.written(text)
                except service.Unknown as why:
                    self.add_error(name, str(why))


class NewProviderForm(_Secrets, ProviderForm):
    """A provider that is not there yet, and its first keys."""

    kind = forms.ChoiceField(
        choices=[(kind, kind) for kind in sorted(ADAPTERS)],
        initial="compatible",
        widget=UnfoldAdminSelectWidget,
        help_text="How it speaks; `compatible` is OpenAI's API at another address.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        self.check_secrets()
        if not self.errors:
            try:
                service.check(cleaned["slug"], cleaned["kind"], cleaned["base_url"])
            except service.Unknown as why:
                self.add_error(None, str(why))
        return cleaned

    def validate_unique(self) -> None:
        slug = self.cleaned_data.get("slug", "")
        known = Provider.objects.filter(slug=slug).first()
        if known and known.deleted_at:
            self.add_error("slug", "It was taken out: bring it back, or choose another name.")
        elif known:
            self.add_error("slug", "There is one of this name: give it more keys instead.")


class NewKeysForm(_Secrets, forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    """More keys of a provider."""

    provider = forms.ModelChoiceField(
        Provider.objects.filter(deleted_at=None), widget=UnfoldAdminSelectWidget
    )

    class Meta:
        model = ProviderKey
        fields = ("provider",)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.check_secrets()
        return cleaned


class KeyActsForm(ReasonForm):
    """Beside the acts on keys: why, and for how long."""

    minutes = forms.IntegerField(
        required=False,
        initial=30,
        label="",
        widget=UnfoldAdminIntegerFieldWidget(
            {"placeholder": "Minutes to cool down", "aria-label": "Minutes", "x-show": "action"}
        ),
    )


class ModelForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    """Nothing chosen in `speaks` means: whatever its provider offers."""

    speaks = forms.MultipleChoiceField(
        choices=[(str(one), str(one)) for one in SPOKEN],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Ways to ask for text; none: whatever its provider offers",
    )

    def clean_speaks(self) -> list[str] | None:
        return sorted(self.cleaned_data["speaks"]) or None


def _chosen(words: type[Modality] | type[Tier]) -> forms.ChoiceField:
    choices = [("", "As it is"), *((str(word), str(word)) for word in words)]
    return forms.ChoiceField(choices=choices, required=False, widget=UnfoldAdminSelectWidget)


def _number(name: str) -> forms.Field:
    column: Any = Model._meta.get_field(name)
    field: forms.Field = column.formfield(
        required=False, initial=None, widget=UnfoldAdminIntegerFieldWidget
    )
    return field


class ManyForm(forms.Form):
    """What many models get at once: only the fields that are filled in."""

    modality = _chosen(Modality)
    tier = _chosen(Tier)
    context_window = _number("context_window")
    max_output = _number("max_output")
    credits_per_1k_input = _number("credits_per_1k_input")
    credits_per_1k_output = _number("credits_per_1k_output")
    credits_per_call = _number("credits_per_call")
    shutdown_date = forms.DateField(
        required=False, widget=UnfoldAdminTextInputWidget({"type": "date"})
    )

    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}
