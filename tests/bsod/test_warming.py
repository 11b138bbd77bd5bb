"""What pages need is there before the first visitor of a worker."""

import subprocess
import sys

import pytest
from django.conf import settings

from bsod import warming

pytestmark = pytest.mark.once

LOADED = """
import sys, threading
import django; django.setup()
from bsod import gunicorn
gunicorn.when_ready(None)
from django.db import connection
print("bsod.urls" in sys.modules, threading.active_count(), connection.connection)
"""


def test_everything_it_loads_is_in_order() -> None:
    assert len(list(warming.templates())) > 50
    warming.load()


def test_it_is_loaded_before_the_fork_and_opens_nothing() -> None:
    """Workers would share a connection, and have none of the threads."""
    given = {"DATA_DIR": str(settings.DATA_DIR), "PATH": "",
             "DJANGO_SETTINGS_MODULE": "bsod.settings", "LOCAL_MODEL": "off"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", LOADED], env=given, cwd=settings.BASE_DIR,
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert done.stdout.strip() == "True 1 None"
