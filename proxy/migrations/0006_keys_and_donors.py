"""What an admin asks of a key; what a donor allows his key, and its calls a day."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("proxy", "0005_catalogue"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="providerkey",
            name="allowed_models",
            field=models.JSONField(
                blank=True, editable=False, help_text="Models it serves; empty: all", null=True
            ),
        ),
        migrations.AddField(
            model_name="providerkey",
            name="asked_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="providerkey",
            name="daily_cap",
            field=models.PositiveIntegerField(
                blank=True, editable=False, help_text="Calls a UTC day; empty: no cap", null=True
            ),
        ),
        migrations.AddField(
            model_name="providerkey",
            name="donor",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="providerkey",
            name="paused",
            field=models.BooleanField(default=False, editable=False),
        ),
        migrations.AddField(
            model_name="providerkey",
            name="probe_note",
            field=models.CharField(blank=True, default="", editable=False, max_length=120),
        ),
        migrations.AddField(
            model_name="providerkey",
            name="probed_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="providerkey",
            name="trusted_objects",
            field=models.BooleanField(
                default=False,
                editable=False,
                help_text="What users store may lie on this account, where its owner can read it",
            ),
        ),
        migrations.AlterField(
            model_name="rest",
            name="reason",
            field=models.CharField(
                choices=[
                    ("new", "new"),
                    ("rate_limit", "rate_limit"),
                    ("auth", "auth"),
                    ("billing", "billing"),
                    ("failures", "failures"),
                    ("unreachable", "unreachable"),
                    ("cooled", "cooled"),
                    ("off", "off"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="KeyDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.CharField(max_length=10)),
                ("calls", models.PositiveIntegerField(default=0)),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="days",
                        to="proxy.providerkey",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("key", "day"), name="key_day_once")
                ],
            },
        ),
    ]
