"""What an admin has to say to everybody about a stretch of time, and which notes are shown.

A note is for all to read: it names a provider at most, never a person, a key or a call. Its text
is plain, and stays text wherever it is shown.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from bsod.lib import clock
from proxy.models import Provider

TOLD = 50
"""The most that are told at once."""


class State(models.TextChoices):
    PLANNED = "planned", _("planned")
    LOOKING = "investigating", _("being looked into")
    WATCHING = "watching", _("mended, being watched")
    OVER = "resolved", _("over")


class Incident(models.Model):
    """A note for everybody. It is open until it says that it is over."""

    title = models.CharField(max_length=120)
    text = models.TextField(max_length=2000, blank=True, help_text="Plain text")
    state = models.CharField(max_length=13, choices=State.choices, default=State.LOOKING)
    provider = models.ForeignKey(
        Provider, models.SET_NULL, null=True, blank=True, related_name="+",
        limit_choices_to={"deleted_at": None}, help_text="Empty: this server as a whole",
    )  # fmt: skip
    began_at = models.DateTimeField("from", default=clock.now, help_text="UTC")
    ended_at = models.DateTimeField(
        "until", null=True, blank=True, help_text="UTC; empty: not known yet"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True) | Q(ended_at__gte=F("began_at")),
                name="incident_ends_after_it_begins",
                violation_error_message="It ends before it begins.",
            )
        ]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        if self.state == State.OVER and self.ended_at is None:
            self.ended_at = clock.now()
        if self.state == State.OVER and self.ended_at and self.ended_at > clock.now():
            raise ValidationError({"ended_at": "What is over has ended by now."})

    @property
    def over(self) -> bool:
        return self.state == State.OVER

    def told(self) -> dict[str, Any]:
        """The note as JSON, moments as Unix times."""
        return {
            "title": self.title,
            "text": self.text,
            "state": self.state,
            "provider": self.provider.slug if self.provider else None,
            "started_at": clock.unix(self.began_at),
            "ended_at": None if self.ended_at is None else clock.unix(self.ended_at),
        }


def recent(now: datetime, back: timedelta, most: int = TOLD) -> Sequence[Incident]:
    """The notes that are open or ended lately, the newest first and open ones before all."""
    seen = Incident.objects.exclude(state=State.OVER, ended_at__lt=now - back)
    order = (models.Case(models.When(state=State.OVER, then=1), default=0), "-began_at", "-pk")
    return list(seen.select_related("provider").order_by(*order)[:most])
