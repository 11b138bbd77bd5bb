"""The kept outcomes of calls with an Idempotency-Key."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import bsod.lib.clock


class Migration(migrations.Migration):
    dependencies = [
        ("quotas", "0002_guard_closed_entries"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Outcome",
            fields=[
                ("scope", models.CharField(max_length=64, primary_key=True, serialize=False)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("entry", models.CharField(max_length=26)),
                ("process", models.CharField(max_length=26)),
                ("fingerprint", models.CharField(max_length=64)),
                ("once", models.BooleanField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "running"),
                            ("kept", "kept"),
                            ("too_large", "too_large"),
                            ("lost", "lost"),
                        ],
                        max_length=10,
                    ),
                ),
                ("status", models.PositiveSmallIntegerField(null=True)),
                ("content_type", models.CharField(default="", max_length=120)),
                ("created_at", models.DateTimeField(default=bsod.lib.clock.now)),
                ("expires_at", models.DateTimeField(db_index=True)),
                ("sealed", models.BinaryField(null=True)),
            ],
        ),
    ]
