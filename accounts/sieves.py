"""Filters of lists that are read by leaves (`leafing.py`): a field to type in, or to choose from.

Each says whether an index serves it. All of a list's are one form, sent by one button.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from django import forms
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

LONGEST = 256


class Sieve(SimpleListFilter):
    """One field of the form."""

    template = "admin/sieve.html"
    served = True
    """Whether an index finds its rows in the order of their keys, or leaves few of them. Where not,
    `narrow` is the part of it that one serves."""
    hint = ""
    kind = "text"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    def has_output(self) -> bool:
        return True

    def text(self) -> str:
        """What is asked for; what no column can hold is nothing."""
        text = (self.value() or "").strip()
        return "" if "\0" in text else text[:LONGEST]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        text = self.text()
        return self.sift(queryset, text) if text else queryset

    def broad(self, rows: "QuerySet[Any]") -> "QuerySet[Any]":
        """What is looked through for it."""
        text = self.text()
        if not text:
            return rows
        return self.sift(rows, text) if self.served else self.narrow(rows, text)

    def narrow(self, rows: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
        return rows

    def sift(self, rows: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
        raise NotImplementedError

    def field(self) -> forms.Field:
        widget = UnfoldAdminTextInputWidget({"type": self.kind, "placeholder": self.hint})
        return forms.CharField(label=self.title, required=False, widget=widget)

    def choices(self, changelist: Any) -> Iterator[Any]:
        name = str(self.parameter_name)
        form = forms.Form({name: self.value() or ""}, auto_id="sieve_%s")
        form.fields[name] = self.field()
        yield {"form": form}


class Choose(Sieve):
    """One of a few words, each with what it lets pass."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, word) for word in self.words()]

    def words(self) -> Iterable[str]:
        raise NotImplementedError

    def text(self) -> str:
        text = super().text()
        return text if text in {str(value) for value, _ in self.lookup_choices} else ""

    def field(self) -> forms.Field:
        choices = [("", "All"), *self.lookup_choices]
        return forms.ChoiceField(
            label=self.title, required=False, choices=choices, widget=UnfoldAdminSelectWidget
        )


class DaySieve(Sieve):
    """A UTC date, as the browser's own field gives it."""

    kind = "date"
