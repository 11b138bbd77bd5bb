"""Prints settings as the environment of this process makes them: a script of `test_settings.py`."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))
from bsod import settings  # only found now

SHOWN = (
    "SECRET_KEY", "VAULT_KEYS", "SITE_URL", "ALLOWED_HOSTS", "PORT", "PRODUCTION", "DATABASES",
    "SECURE_SSL_REDIRECT",
)  # fmt: skip
print(json.dumps({name: getattr(settings, name) for name in SHOWN}, default=str))
