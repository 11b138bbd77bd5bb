"""The Models tab asks for the last hours of the models it shows."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("proxy", "0006_keys_and_donors")]

    operations = [
        migrations.AddIndex(
            model_name="stat",
            index=models.Index(fields=["model", "step", "at"], name="stat_of_model"),
        ),
    ]
