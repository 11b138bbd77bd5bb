"""The audit log: rows that stay as they are, whoever tries."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import bsod.lib.clock
from accounts.triggers import create, drop


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_people"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(default=bsod.lib.clock.now)),
                ("actor_name", models.CharField(blank=True, default="", max_length=150)),
                ("verb", models.CharField(max_length=40)),
                ("target_kind", models.CharField(blank=True, default="", max_length=60)),
                ("target_id", models.CharField(blank=True, default="", max_length=40)),
                ("target_text", models.CharField(blank=True, default="", max_length=200)),
                ("reason", models.CharField(blank=True, default="", max_length=500)),
                ("facts", models.JSONField(blank=True, default=dict)),
                ("address", models.CharField(blank=True, default="", max_length=45)),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["at"], name="audit_at"),
                    models.Index(fields=["target_kind", "target_id"], name="audit_target"),
                    models.Index(fields=["actor_name"], name="audit_actor"),
                ],
            },
        ),
        migrations.RunPython(create, drop),
    ]
