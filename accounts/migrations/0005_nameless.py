"""The audit log keeps people by their number: names go from the rows that have them, and their
column. The trigger is lifted meanwhile, and laid again behind it."""

from typing import Any

from django.db import migrations, models

from accounts.triggers import create, drop


def forget_names(apps: Any, schema_editor: Any) -> None:
    events = apps.get_model("accounts", "AuditEvent").objects
    events.filter(target_kind="accounts.account").update(target_text="")


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_audit"),
    ]

    operations = [
        migrations.RunPython(drop, create),
        migrations.RunPython(forget_names, migrations.RunPython.noop),
        migrations.RemoveIndex(model_name="auditevent", name="audit_actor"),
        migrations.RemoveField(model_name="auditevent", name="actor_name"),
        migrations.RunPython(create, drop),
        migrations.AddField(
            model_name="account",
            name="donation_notices",
            field=models.BooleanField(db_default=True, default=True, editable=False),
        ),
    ]
