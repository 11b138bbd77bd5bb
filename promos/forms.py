"""The form an offer is made with: a number for each bucket, and how many codes."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from accounts.caps import MOST
from bsod.lib.terms import Bucket
from promos.models import Promo
from promos.service import MOST_CODES, check_chosen
from quotas.buckets import BUCKETS


class AmountsWidget(forms.MultiWidget):
    """A number box for each bucket, a line each, called by its name."""

    template_name = "promos/amounts.html"

    def __init__(self) -> None:
        super().__init__(
            {
                bucket.value: UnfoldAdminIntegerFieldWidget(
                    {
                        "min": 0,
                        "max": MOST,
                        "title": bucket if bucket == kind.unit else f"{bucket} ({kind.unit})",
                    }
                )
                for bucket, kind in BUCKETS.items()
            }
        )

    def decompress(self, value: Any) -> list[int | None]:
        amounts = value if isinstance(value, Mapping) else {}
        return [amounts.get(bucket.value) for bucket in BUCKETS]


class AmountsField(forms.MultiValueField):
    """Units by bucket; a bucket left empty is not in it."""

    widget = AmountsWidget

    def __init__(self, **kwargs: Any) -> None:
        fields = [forms.IntegerField(min_value=0, max_value=MOST, required=False) for _ in BUCKETS]
        super().__init__(fields, require_all_fields=False, **kwargs)

    def compress(self, data_list: list[int | None]) -> dict[str, int]:
        amounts = zip(BUCKETS, data_list, strict=False)
        return {Bucket(bucket).value: amount for bucket, amount in amounts if amount}


class MakeForm(forms.ModelForm):  # type: ignore[type-arg]  # no generic at run time
    grants = AmountsField(help_text="Units given on top of the daily caps; any mix")
    count = forms.IntegerField(
        min_value=1, max_value=MOST_CODES, initial=1, label="Codes",
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=f"How many, up to {MOST_CODES}. They are shown once, on the next page",
    )  # fmt: skip
    chosen = forms.CharField(
        required=False, max_length=100, label="Chosen code", strip=True,
        widget=UnfoldAdminTextInputWidget,
        help_text="Instead of a random one, which nobody can guess. 8 letters and digits or more",
    )  # fmt: skip

    class Meta:
        model = Promo
        fields = (
            "name", "note", "grants", "grant_days", "uses", "per_user", "first_users_only",
            "valid_from", "valid_until",
        )  # fmt: skip

    def clean_chosen(self) -> str:
        chosen: str = self.cleaned_data["chosen"]
        if chosen:
            check_chosen(chosen)
            if self.cleaned_data.get("count", 1) != 1:
                raise ValidationError("A chosen code is one code.")
        return chosen
