"""What the worker says of itself, and two indexes for the admin's first page."""

from django.conf import settings
from django.db import migrations, models
from django.db.models import Q


def seed(apps, editor):
    apps.get_model("quotas", "Worker").objects.create(id=1)


class Migration(migrations.Migration):
    dependencies = [
        ("quotas", "0003_outcomes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("beat_at", models.DateTimeField(null=True)),
                ("audit_asked_at", models.DateTimeField(null=True)),
            ],
            options={"verbose_name_plural": "worker"},
        ),
        migrations.RunPython(seed, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(
                condition=Q(("shortfall__gt", 0)), fields=["day", "bucket"], name="entry_shortfall"
            ),
        ),
        migrations.AddIndex(
            model_name="usageday",
            index=models.Index(fields=["day"], name="usage_day_all"),
        ),
    ]
