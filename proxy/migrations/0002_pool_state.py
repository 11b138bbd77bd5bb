"""The one row whose number grows with every change of the pool."""

from typing import Any

from django.db import migrations


def seed(apps: Any, schema_editor: Any) -> None:
    apps.get_model("proxy", "PoolState").objects.create(id=1, generation=1)


class Migration(migrations.Migration):
    dependencies = [("proxy", "0001_initial")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
