"""The suite's SQLite database, migrated once for all the parts of a run (`tests/run.py`).

The part that comes first runs the migrations and leaves a copy, the others take that. It lies in
the run's own folder, so it can only be of this run; pytest alone, and PostgreSQL, migrate as ever.
"""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.test.utils import setup_databases


def set_up() -> Any:
    """What `setup_databases` gives, for `teardown_databases`."""
    template = os.environ.get("SUITE_TEMPLATE")
    if not template or connection.vendor != "sqlite":
        return setup_databases(verbosity=0, interactive=False)
    with open(f"{template}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not Path(template).exists():
            made = setup_databases(verbosity=0, interactive=False)
            with connection.cursor() as cursor:
                cursor.execute("VACUUM INTO %s", [f"{template}.part"])
            Path(f"{template}.part").rename(template)
            return made
    before, name = settings.DATABASES["default"]["NAME"], str(settings.DATA_DIR / "test.sqlite3")
    take(Path(name))
    settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"] = name
    return [(connection, before, True)]


def take(path: Path) -> bool:
    """A database with its tables and nobody in it, if this run has one to copy."""
    template = os.environ.get("SUITE_TEMPLATE")
    if not template or not Path(template).exists():
        return False
    shutil.copyfile(template, path)
    path.chmod(0o600)
    return True
