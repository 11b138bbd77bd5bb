"""What is counted of calls, and what each process has open."""

from django.db import migrations, models

import bsod.lib.clock


def _number(help_text: str = "") -> "models.BigIntegerField[int, int]":
    return models.BigIntegerField(default=0, db_default=0, help_text=help_text)


# As many as `proxy.histogram` has bounds, and one.
_HISTOGRAMS = [f"{name}_{number}" for name in ("latency", "first") for number in range(20)]


class Migration(migrations.Migration):
    dependencies = [("proxy", "0003_objects_and_jobs")]

    operations = [
        migrations.CreateModel(
            name="Busy",
            fields=[
                ("process", models.CharField(max_length=26, primary_key=True, serialize=False)),
                ("calls", models.PositiveIntegerField(default=0)),
                ("streams", models.PositiveIntegerField(default=0)),
                ("seen_at", models.DateTimeField(default=bsod.lib.clock.now)),
            ],
        ),
        migrations.CreateModel(
            name="Stat",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("step", models.CharField(max_length=6)),
                ("at", models.DateTimeField()),
                ("route", models.CharField(max_length=120)),
                ("provider", models.CharField(max_length=40)),
                ("model", models.CharField(max_length=256)),
                ("status", models.CharField(max_length=8)),
                ("count", _number()),
                ("attempts", _number()),
                ("prompt", _number()),
                ("completion", _number()),
                ("latency", _number(help_text="Microseconds, all of them")),
                ("first", _number(help_text="To the first byte, the same")),
                *((name, _number()) for name in _HISTOGRAMS),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("step", "at", "route", "provider", "model", "status"),
                        name="stat_once",
                    )
                ]
            },
        ),
    ]
