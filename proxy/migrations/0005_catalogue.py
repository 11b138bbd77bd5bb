"""The catalogue: what lists say, which fields an admin has fixed, providers locked with a text."""

from typing import Any

from django.db import migrations, models

_EDITABLE = [
    "modality", "tier", "context_window", "max_output", "credits_per_1k_input",
    "credits_per_1k_output", "credits_per_call", "shutdown_date",
]  # fmt: skip


def keep_what_admins_set(apps: Any, schema_editor: Any) -> None:
    """A row was edited whole so far: all of its fields stay as they are."""
    apps.get_model("proxy", "Model").objects.filter(overridden=True).update(fixed=_EDITABLE)


class Migration(migrations.Migration):
    dependencies = [("proxy", "0004_stat")]

    operations = [
        migrations.AddField(
            "provider",
            "lock_text",
            models.CharField(
                blank=True,
                help_text="Locks the provider: its models stay listed, calls get a 503 with this "
                "text",
                max_length=300,
            ),
        ),
        migrations.AddField(
            "offer",
            "listed",
            models.JSONField(default=dict, help_text="What the provider's list says of it"),
        ),
        migrations.AddField(
            "model",
            "speaks",
            models.JSONField(
                blank=True,
                help_text="Ways to ask for text; none: whatever its provider offers",
                null=True,
            ),
        ),
        migrations.AddField(
            "model",
            "fixed",
            models.JSONField(
                default=list,
                editable=False,
                help_text="Fields set here: syncs leave them alone",
            ),
        ),
        migrations.RunPython(keep_what_admins_set, migrations.RunPython.noop),
        migrations.RemoveField("model", "overridden"),
    ]
