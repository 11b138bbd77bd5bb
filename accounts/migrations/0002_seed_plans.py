"""The three plans of SPEC §2. An admin may edit them afterwards; migrating again changes nothing."""

from typing import Any

from django.db import migrations

CAPS = {
    "text.base": 500_000,
    "text.pro": 100_000,
    "image": 10,
    "audio": 25,
    "video.sora2pro": 1,
    "video.sora2": 3,
    "video.other": 5,
    "file": 5,
}


def seed(apps: Any, schema_editor: Any) -> None:
    plan = apps.get_model("accounts", "Plan")
    plan.objects.create(
        slug="free",
        name="Free",
        kind="buckets",
        requests_per_minute=1000,
        open_calls=100,
        caps=CAPS,
    )
    plan.objects.create(
        slug="supporter",
        name="Supporter",
        kind="buckets",
        requests_per_minute=2000,
        open_calls=200,
        caps={bucket: 3 * cap for bucket, cap in CAPS.items()},
    )
    plan.objects.create(
        slug="pro",
        name="Pro",
        kind="credits",
        requests_per_minute=5000,
        open_calls=500,
        caps={},
        credits_per_period=15_000_000,
        period_days=30,
    )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
