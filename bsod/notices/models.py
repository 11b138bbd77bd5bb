"""The outbox: one row for each person and event, sent or not."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from bsod.lib import clock
from bsod.notices.topics import Topic


class Notice(models.Model):
    """Something one person is told. No secrets and nobody's name: it says where to look."""

    event = models.CharField(max_length=80, help_text="What happened; told to each person once")
    account = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="+",
        help_text="Empty: the chat of the admins",
    )  # fmt: skip
    topic = models.CharField(max_length=30, choices=[(str(one), str(one)) for one in Topic])
    facts = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=clock.now)
    due_at = models.DateTimeField(null=True, default=clock.now, help_text="Empty: it is over")
    tries = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event", "account"], name="notice_once"),
            models.UniqueConstraint(
                fields=["event"], condition=Q(account__isnull=True), name="notice_once_in_the_chat"
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="notice_due"),
            models.Index(fields=["created_at"], name="notice_old"),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.event}"
