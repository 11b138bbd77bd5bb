"""The last part of `make check`: what must hold of the project and no linter looks at.

    python -m tests.check

Each check is a command of its own, so that what fails is printed as it prints itself.
"""

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCTION = {
    "SITE_URL": "https://api.example.org",
    "TRUSTED_PROXIES": "1",
    "SECRET_KEY": "only-for-this-check-" * 3,
    "VAULT_KEYS": base64.urlsafe_b64encode(bytes(range(32))).decode(),
}
COMPILE = """
import django; django.setup()
from django.template.loader import get_template
names = {names!r}
for name in names: get_template(name)
print(len(names), "templates of ours compile")
"""


def templates() -> list[str]:
    """The project's own templates, as Django names them."""
    folders = [path for path in ROOT.glob("*/templates") if not path.parent.name.startswith(".")]
    return sorted(
        str(path.relative_to(folder))
        for folder in [ROOT / "templates", *folders]
        for path in folder.rglob("*")
        if path.is_file()
    )


def commands() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    manage = [sys.executable, "manage.py"]
    yield "models and migrations agree", [*manage, "makemigrations", "--check", "--dry-run"], {}
    deploy = [*manage, "check", "--deploy", "--fail-level", "WARNING"]
    yield "production settings are clean", deploy, PRODUCTION
    compiled = [sys.executable, "-c", COMPILE.format(names=templates())]
    yield "templates compile", compiled, {"DJANGO_SETTINGS_MODULE": "bsod.settings"}
    house = ["tests/test_floors.py", "tests/test_tidy.py"]
    yield "the house is tidy", [sys.executable, "-m", "pytest", "-q", *house], {}


def main() -> int:
    failed = []
    for title, command, more in commands():
        print(f"== {title}", flush=True)
        with tempfile.TemporaryDirectory(prefix="bsod-check-") as data:
            given = {**os.environ, "DATA_DIR": data, "DATABASE_URL": "", **more}
            if subprocess.run(command, cwd=ROOT, env=given, check=False).returncode:
                failed.append(title)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
