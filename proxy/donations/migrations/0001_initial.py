"""Donated keys, their timelines, and the plans they have raised."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import bsod.lib.clock
import bsod.lib.ids
import proxy.donations.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0003_people"),
        ("proxy", "0006_keys_and_donors"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Donation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "uid",
                    models.CharField(
                        default=bsod.lib.ids.ulid, editable=False, max_length=26, unique=True
                    ),
                ),
                ("sealed", models.TextField(blank=True, editable=False)),
                ("fingerprint", models.CharField(editable=False, max_length=64)),
                ("last4", models.CharField(editable=False, max_length=4)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("withdrawn", "withdrawn"),
                            ("dead", "dead"),
                        ],
                        default=proxy.donations.models.State["PENDING"],
                        max_length=10,
                    ),
                ),
                (
                    "note",
                    models.TextField(blank=True, help_text="The donor's own words", max_length=500),
                ),
                ("consent_version", models.CharField(max_length=20)),
                ("consent_at", models.DateTimeField()),
                (
                    "opens",
                    models.JSONField(
                        blank=True,
                        help_text="Models the last probe found; empty: it got no list",
                        null=True,
                    ),
                ),
                ("probe", models.CharField(help_text="What the last probe said", max_length=200)),
                ("probed_at", models.DateTimeField()),
                (
                    "daily_cap",
                    models.PositiveIntegerField(
                        blank=True, help_text="Calls a UTC day; empty: no cap", null=True
                    ),
                ),
                (
                    "allowed_models",
                    models.JSONField(
                        blank=True, help_text="The donor's choice; empty: all it opens", null=True
                    ),
                ),
                ("paused", models.BooleanField(default=False)),
                (
                    "trusted_objects",
                    models.BooleanField(
                        default=False, help_text="What users store may lie on this account"
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=bsod.lib.clock.now)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "decided_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "donor",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="donations",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="donations",
                        to="proxy.provider",
                    ),
                ),
                (
                    "provider_key",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="donations",
                        to="proxy.providerkey",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="DonationEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(default=bsod.lib.clock.now)),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("submitted", "submitted"),
                            ("checked", "checked"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("withdrawn", "withdrawn"),
                            ("dead", "dead"),
                            ("revived", "revived"),
                            ("paused", "paused"),
                            ("resumed", "resumed"),
                            ("changed", "changed"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                            ("withdrawn", "withdrawn"),
                            ("dead", "dead"),
                        ],
                        max_length=10,
                    ),
                ),
                ("text", models.CharField(blank=True, max_length=500)),
                ("notified_at", models.DateTimeField(blank=True, null=True)),
                (
                    "donation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="donations.donation",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Raised",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("plan_expires_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=bsod.lib.clock.now)),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.plan",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="donation",
            index=models.Index(
                condition=models.Q(("ended_at", None)), fields=["state"], name="donation_living"
            ),
        ),
        migrations.AddConstraint(
            model_name="donation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None)),
                fields=("provider", "fingerprint"),
                name="donation_lives_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="donation",
            constraint=models.CheckConstraint(
                condition=models.Q(("ended_at", None), ("sealed", ""), _connector="OR"),
                name="donation_ended_is_wiped",
            ),
        ),
        migrations.AddIndex(
            model_name="donationevent",
            index=models.Index(
                condition=models.Q(("notified_at", None)),
                fields=["id"],
                name="donation_event_untold",
            ),
        ),
    ]
