"""Lists of the admin: two of their own, and two indexes that no call and no day's row comes by."""

from django.db import migrations, models
from django.db.models import Q


def proxy(name, of):
    return migrations.CreateModel(
        name=name, fields=[], options={"proxy": True, "indexes": [], "constraints": []},
        bases=(of,),
    )  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [("quotas", "0004_worker")]

    operations = [
        proxy("Reservation", "quotas.entry"),
        proxy("Grant", "quotas.balance"),
        migrations.AddIndex(
            model_name="entry",
            index=models.Index(condition=~Q(("kind", "call")), fields=["id"], name="entry_no_call"),
        ),
        migrations.AddIndex(
            model_name="balance",
            index=models.Index(
                condition=Q(("period__isnull", True)), fields=["id"], name="balance_grant_ids"
            ),
        ),
    ]
