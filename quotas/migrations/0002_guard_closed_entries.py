"""Closed entries cannot change, whoever tries."""

from django.db import migrations

from quotas.triggers import create, drop


class Migration(migrations.Migration):
    dependencies = [("quotas", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
