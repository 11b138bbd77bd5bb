"""The secrets of a first run: made once and kept in a file that only its owner reads."""

import base64
import json
import os
import secrets
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

NAMES = ("SECRET_KEY", "VAULT_KEYS")


def read(path: Path) -> dict[str, str]:
    """What is in the file, which is made if it is not there. A damaged one is left as it is."""
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be made: {error}") from None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {name: kept[name] for name in NAMES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImproperlyConfigured(f"{path} cannot be read ({error!r}); restore it") from None


def _make(path: Path) -> None:
    made = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "VAULT_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    # Random, not the process id: two containers on one volume may both be process 1.
    temporary = path.with_name(f"secrets.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(made, file)
            file.flush()
            os.fsync(file.fileno())
        # A link fails when the file is there: two first runs at once agree on one.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
